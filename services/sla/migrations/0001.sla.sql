-- One row for each request, and one for each of its clocks.

CREATE TABLE requests (
    request_id uuid PRIMARY KEY,
    slot smallint NOT NULL,
    workspace bigint NOT NULL,
    policy text NOT NULL,
    sequence bigint NOT NULL,
    answered boolean NOT NULL DEFAULT false,
    paused boolean NOT NULL DEFAULT false,
    assignee text,
    team text,
    trace text
);

CREATE TABLE clocks (
    request_id uuid NOT NULL,
    clock text NOT NULL,
    slot smallint NOT NULL,
    policy text NOT NULL,
    target double precision NOT NULL,
    started_at timestamptz NOT NULL,
    since timestamptz,
    due_at timestamptz,
    spent double precision NOT NULL DEFAULT 0,
    stopped_at timestamptz,
    breached boolean NOT NULL DEFAULT false,
    cancelled boolean NOT NULL DEFAULT false,
    warned smallint NOT NULL DEFAULT 0,
    wake_at timestamptz,
    PRIMARY KEY (request_id, clock)
);

-- Clocks with a warning or a breach ahead.
CREATE INDEX clocks_wake ON clocks (wake_at) WHERE wake_at IS NOT NULL;

-- Overdue clocks: breached and still running.
CREATE INDEX clocks_overdue ON clocks (due_at, request_id, clock) WHERE breached AND stopped_at IS NULL;
