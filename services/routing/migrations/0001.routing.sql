-- Presence, the queue, capacity and decisions. Every change is made under the service's lock, so a transaction
-- reads what the previous one wrote.

-- The workspace version the operators' limits below were taken from.
CREATE TABLE deciding_by (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    workspace integer NOT NULL
);
INSERT INTO deciding_by (workspace) VALUES (0);

-- Operators with presence and load. `load` is the sum of their rows in `capacity`.
CREATE TABLE operators (
    id               text        PRIMARY KEY,
    status           text        NOT NULL DEFAULT 'offline' CHECK (status IN ('online', 'busy', 'away', 'offline')),
    status_since     timestamptz,
    lease_until      timestamptz,
    load             integer     NOT NULL DEFAULT 0,
    limit_now        integer     NOT NULL,
    load_at_change   integer     NOT NULL DEFAULT 0,
    last_assigned_at timestamptz,
    last_closed_at   timestamptz,
    -- The limit holds even without the lock. A lowered limit leaves the load as it is.
    CHECK (load >= 0 AND load <= greatest(limit_now, load_at_change))
) WITH (fillfactor = 50);
CREATE INDEX operators_lease ON operators (lease_until) WHERE lease_until IS NOT NULL;

-- Waiting requests. `avoid` is the operator who handed the request back, or ''.
CREATE TABLE queue (
    request_id    uuid        PRIMARY KEY,
    request_group text        NOT NULL,
    topic         text        NOT NULL,
    channel       text        NOT NULL,
    avoid         text        NOT NULL DEFAULT '',
    weight        integer     NOT NULL,
    created_at    timestamptz NOT NULL,
    epoch         integer     NOT NULL DEFAULT 0,
    trace         text,
    queued_at     timestamptz NOT NULL
);
CREATE INDEX queue_line ON queue (request_group, topic, channel, avoid, weight DESC, created_at, request_id);
CREATE INDEX queue_order ON queue (request_group, weight DESC, created_at, request_id);

-- Assigned requests: one row per request, so one operator.
CREATE TABLE capacity (
    request_id    uuid        PRIMARY KEY,
    epoch         integer     NOT NULL,
    operator      text        NOT NULL,
    units         integer     NOT NULL DEFAULT 1,
    request_group text        NOT NULL,
    topic         text        NOT NULL,
    channel       text        NOT NULL,
    weight        integer     NOT NULL,
    created_at    timestamptz NOT NULL,
    trace         text,
    mode          text        NOT NULL,
    since         timestamptz NOT NULL
);
CREATE INDEX capacity_operator ON capacity (operator);

-- Ended requests; an opening that arrives later is ignored.
CREATE TABLE tombstones (
    request_id uuid        PRIMARY KEY,
    at         timestamptz NOT NULL
);

-- Decisions with their reasons; `operator` is null when the request waits.
CREATE TABLE decisions (
    request_id    uuid        NOT NULL,
    epoch         integer     NOT NULL,
    waits         boolean     NOT NULL,
    id            uuid        NOT NULL,
    at            timestamptz NOT NULL,
    request_group text        NOT NULL,
    operator      text,
    mode          text        NOT NULL,
    by            text,
    method        text        NOT NULL,
    workspace     integer     NOT NULL,
    considered    jsonb       NOT NULL,
    able          integer     NOT NULL,
    excluded      jsonb       NOT NULL,
    took_us       integer     NOT NULL,
    PRIMARY KEY (request_id, epoch, waits)
);
CREATE INDEX decisions_group ON decisions (request_group, at) WHERE NOT waits;
CREATE INDEX decisions_at ON decisions USING brin (at);

-- States the audit found that must never occur.
CREATE TABLE anomalies (
    id         bigserial   PRIMARY KEY,
    at         timestamptz NOT NULL,
    kind       text        NOT NULL,
    request_id uuid,
    operator   text,
    detail     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX anomalies_at ON anomalies (at);
