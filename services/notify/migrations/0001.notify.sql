-- What notify keeps.

-- Who has to do with each request.
CREATE TABLE requests (
    request_id uuid PRIMARY KEY,
    type text NOT NULL,
    topic text NOT NULL,
    sequence bigint NOT NULL,
    assignee text,
    watchers text[] NOT NULL DEFAULT '{}',
    closed boolean NOT NULL DEFAULT false
);

-- Each operator's bell.
CREATE TABLE notifications (
    position bigserial PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    recipient text NOT NULL,
    kind text NOT NULL,
    request_id uuid NOT NULL,
    text text NOT NULL,
    at timestamptz NOT NULL,
    read_at timestamptz
);
CREATE INDEX notifications_bell ON notifications (recipient, position DESC);
CREATE INDEX notifications_unread ON notifications (recipient, position DESC) WHERE read_at IS NULL;
CREATE INDEX notifications_request ON notifications (request_id);

-- The send ledger. A row is committed before anything is sent. `next_at` is when it may be attempted, or,
-- while `sending`, when its lease runs out; NULL when nothing more will be done. `lease` names the attempt.
-- The text is forgotten once the platform has it.
CREATE TABLE sends (
    message_id uuid PRIMARY KEY,
    turn bigserial NOT NULL,
    request_id uuid NOT NULL,
    channel text NOT NULL,
    account text NOT NULL,
    chat text NOT NULL,
    address text,
    text text,
    state text NOT NULL CHECK (state IN ('intended', 'sending', 'unknown', 'sent', 'failed', 'suppressed')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz,
    lease uuid,
    platform_id text,
    reason text,
    by_operator text NOT NULL,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz
);
CREATE INDEX sends_due ON sends (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX sends_turn ON sends (channel, account, chat, turn) WHERE next_at IS NOT NULL;
CREATE INDEX sends_request ON sends (request_id, turn);

-- Accounts through which nothing can be sent for a while: a limit reached, a credential refused.
CREATE TABLE exits (
    channel text NOT NULL,
    account text NOT NULL,
    shut_until timestamptz NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (channel, account)
);
