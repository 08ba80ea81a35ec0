-- What a service has said, in the order it said it. A service with a log of its own has a view of this name instead.
-- depends: 0001.chassis

CREATE TABLE outbox (
    position bigserial PRIMARY KEY,
    key      text      NOT NULL,
    slot     smallint  NOT NULL CHECK (slot BETWEEN 0 AND 15),
    sequence bigint    NOT NULL CHECK (sequence > 0),
    type     text      NOT NULL,
    body     bytea     NOT NULL,
    UNIQUE (key, sequence)
);
CREATE INDEX outbox_slot ON outbox (slot, position);

CALL make_append_only('outbox');

-- Record facts in the given order, numbered without gaps within their key; one round trip.
CREATE FUNCTION outbox_append(
    lock bigint, keys text[], slots int[], types text[], bodies bytea[],
    OUT positions bigint[], OUT sequences bigint[]
) LANGUAGE plpgsql AS $$
BEGIN
    -- First and alone: the statement after it sees every earlier commit, so positions become visible in order.
    PERFORM pg_advisory_xact_lock(lock);
    WITH given AS (
        SELECT g.key, g.slot, g.type, g.body, g.n
        FROM unnest(keys, slots, types, bodies) WITH ORDINALITY AS g (key, slot, type, body, n)
    ), heads AS (
        SELECT k.key, coalesce((SELECT o.sequence FROM outbox o WHERE o.key = k.key
                                ORDER BY o.sequence DESC LIMIT 1), 0) AS head
        FROM (SELECT DISTINCT g.key FROM given g) k
    ), told AS (
        INSERT INTO outbox (key, slot, sequence, type, body)
        SELECT g.key, g.slot, h.head + row_number() OVER (PARTITION BY g.key ORDER BY g.n), g.type, g.body
        FROM given g JOIN heads h USING (key)
        ORDER BY g.n
        RETURNING outbox.position, outbox.sequence
    )
    SELECT array_agg(t.position ORDER BY t.position), array_agg(t.sequence ORDER BY t.position)
    INTO positions, sequences FROM told t;
END $$;
