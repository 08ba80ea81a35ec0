-- Webhooks: what is to be handed to whom, and the group a request waits in.

-- One row per fact and endpoint, committed with what the fact changed here. `next_at` is when it may be tried
-- (again), NULL once nothing more will be done; so a row is open exactly while `next_at` is set.
CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    turn bigserial NOT NULL,
    endpoint text NOT NULL,
    type text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL,
    request_id uuid,
    body bytea NOT NULL,
    traceparent text,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz,
    status integer,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    CHECK ((state = 'pending') = (next_at IS NOT NULL))
);
CREATE INDEX deliveries_due ON deliveries (endpoint, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_lane ON deliveries (endpoint, key, turn) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_failed ON deliveries (endpoint, turn) WHERE state = 'failed';
CREATE INDEX deliveries_turn ON deliveries (endpoint, turn);
CREATE INDEX deliveries_request ON deliveries (request_id, turn);
CREATE INDEX deliveries_age ON deliveries USING brin (created_at);

-- What is remembered of an endpoint: a wish to be left alone for a while, or for good. The latter holds for
-- the address that said so; `address` is derived from it, because addresses may hold secrets.
CREATE TABLE endpoints (
    endpoint text PRIMARY KEY,
    paused_until timestamptz,
    disabled_at timestamptz,
    address uuid,
    reason text
);

ALTER TABLE requests ADD COLUMN team text;
