-- The history of every request, in the layout of the eventsourcing library; the relay publishes from it.
-- depends: 0001.chassis

CREATE TABLE tickets_events (
    originator_id      uuid      NOT NULL,
    originator_version bigint    NOT NULL CHECK (originator_version > 0),
    topic              text      NOT NULL,
    state              bytea     NOT NULL,
    notification_id    bigserial NOT NULL UNIQUE,
    slot               smallint  NOT NULL CHECK (slot BETWEEN 0 AND 15),
    PRIMARY KEY (originator_id, originator_version)
);
CREATE INDEX tickets_events_slot ON tickets_events (slot, notification_id);

CALL make_append_only('tickets_events');

CREATE VIEW outbox AS
    SELECT notification_id AS position, originator_id::text AS key, slot,
           originator_version AS sequence, topic AS type, state AS body
    FROM tickets_events;

-- The answers to commands with an idempotency key.
CREATE TABLE tickets_inbox (
    msg_id text        PRIMARY KEY,
    hash   bytea       NOT NULL,
    answer bytea       NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

-- The current state of each request; can be dropped and rebuilt from the history.
CREATE TABLE requests (
    id           uuid        PRIMARY KEY,
    version      bigint      NOT NULL,
    type         text        NOT NULL,
    status       text        NOT NULL,
    title        text        NOT NULL,
    topic        text        NOT NULL,
    priority     text        NOT NULL,
    channel      text        NOT NULL,
    account      text        NOT NULL,
    contact      jsonb       NOT NULL,
    conversation text,
    fields       jsonb       NOT NULL,
    assignee     text,
    "group"      text,
    queued       boolean     NOT NULL,
    paused       boolean     NOT NULL,
    tags         text[]      NOT NULL,
    watchers     text[]      NOT NULL,
    origin       text        NOT NULL,
    follow_up_of uuid,
    resolution   text,
    opened_at    timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    closed_at    timestamptz,
    fold         int         NOT NULL,
    snapshot     text        NOT NULL
) WITH (fillfactor = 80);
COMMENT ON COLUMN requests.snapshot IS 'The state at this version, as snapshot version `fold` encodes it.';
CREATE INDEX requests_opened ON requests (opened_at DESC, id DESC);
CREATE INDEX requests_unclosed ON requests (opened_at DESC, id DESC) WHERE closed_at IS NULL;
CREATE INDEX requests_status ON requests (status, opened_at DESC, id DESC);
CREATE INDEX requests_assignee ON requests (assignee, opened_at DESC, id DESC);
CREATE INDEX requests_group ON requests ("group", opened_at DESC, id DESC);
CREATE INDEX requests_topic ON requests (topic, opened_at DESC, id DESC);
CREATE INDEX requests_contact ON requests ((contact ->> 'id'), opened_at DESC, id DESC);

-- The breaches of each request, as sla publishes them.
CREATE TABLE breaches (
    request_id uuid        NOT NULL,
    clock      text        NOT NULL,
    due_at     timestamptz NOT NULL,
    PRIMARY KEY (request_id, clock, due_at)
);

-- Append the events of several commands in one round trip: all events of a command, or none.
-- A command whose key is recorded is a duplicate; one whose request has another version is in conflict.
-- Neither affects the others. `h_next` holds the versions that the commands expect to write next.
CREATE FUNCTION tickets_append(
    lock bigint,
    c_msg text[], c_hash bytea[], c_answer bytea[],
    h_cmd int[], h_id uuid[], h_next bigint[],
    e_cmd int[], e_id uuid[], e_version bigint[], e_topic text[], e_state bytea[], e_slot int[],
    r_rows jsonb,
    OUT duplicates int[], OUT conflicts int[]
) LANGUAGE plpgsql AS $$
DECLARE
    void int[];
BEGIN
    -- First and alone: the statements after it see every earlier commit, so positions become visible in order.
    PERFORM pg_advisory_xact_lock(lock);

    duplicates := ARRAY(
        SELECT c.n::int FROM unnest(c_msg) WITH ORDINALITY c (msg, n)
        JOIN tickets_inbox i ON i.msg_id = c.msg WHERE c.msg <> '');
    conflicts := ARRAY(
        SELECT DISTINCT h.cmd FROM unnest(h_cmd, h_id, h_next) h (cmd, id, next)
        WHERE h.cmd <> ALL (duplicates) AND h.next <> 1 + coalesce(
            (SELECT t.originator_version FROM tickets_events t WHERE t.originator_id = h.id
             ORDER BY t.originator_version DESC LIMIT 1), 0));
    void := duplicates || conflicts;

    INSERT INTO tickets_inbox (msg_id, hash, answer)
    SELECT c.msg, c.hash, c.answer
    FROM unnest(c_msg, c_hash, c_answer) WITH ORDINALITY c (msg, hash, answer, n)
    WHERE c.msg <> '' AND c.n <> ALL (void);

    INSERT INTO tickets_events (originator_id, originator_version, topic, state, slot)
    SELECT e.id, e.version, e.topic, e.state, e.slot
    FROM unnest(e_cmd, e_id, e_version, e_topic, e_state, e_slot) WITH ORDINALITY
        e (cmd, id, version, topic, state, slot, n)
    WHERE e.cmd <> ALL (void) ORDER BY e.n;

    INSERT INTO requests AS r
    SELECT g.id, g.version, g.type, g.status, g.title, g.topic, g.priority, g.channel, g.account, g.contact,
           g.conversation, g.fields, g.assignee, g."group", g.queued, g.paused, g.tags, g.watchers, g.origin,
           g.follow_up_of, g.resolution, g.opened_at, g.updated_at, g.closed_at, g.fold, g.snapshot
    FROM jsonb_to_recordset(r_rows) AS g (
        cmd int, id uuid, version bigint, type text, status text, title text, topic text, priority text,
        channel text, account text, contact jsonb, conversation text, fields jsonb, assignee text,
        "group" text, queued boolean, paused boolean, tags text[], watchers text[], origin text,
        follow_up_of uuid, resolution text, opened_at timestamptz, updated_at timestamptz,
        closed_at timestamptz, fold int, snapshot text)
    WHERE g.cmd <> ALL (void)
    ON CONFLICT (id) DO UPDATE SET
        version = EXCLUDED.version, status = EXCLUDED.status, title = EXCLUDED.title,
        topic = EXCLUDED.topic, priority = EXCLUDED.priority, contact = EXCLUDED.contact,
        fields = EXCLUDED.fields, assignee = EXCLUDED.assignee, "group" = EXCLUDED."group",
        queued = EXCLUDED.queued, paused = EXCLUDED.paused, tags = EXCLUDED.tags,
        watchers = EXCLUDED.watchers, resolution = EXCLUDED.resolution,
        updated_at = EXCLUDED.updated_at, closed_at = EXCLUDED.closed_at,
        fold = EXCLUDED.fold, snapshot = EXCLUDED.snapshot
    WHERE r.version < EXCLUDED.version;
END $$;
