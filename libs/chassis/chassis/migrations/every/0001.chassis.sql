-- What every service keeps for its own reading, telling and configuration. The schema is the search path.

-- Up to where a reader has applied a stream, slot by slot. A position is the producer's outbox position;
-- a stream with many writers is followed by its creation and sequence instead.
CREATE TABLE reader_position (
    reader          text     NOT NULL,
    slot            smallint NOT NULL,
    position        bigint   NOT NULL DEFAULT 0,
    stream_created  text     NOT NULL DEFAULT '',
    stream_sequence bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (reader, slot)
);

-- Facts heard before what they are about is known here.
CREATE TABLE waiting (
    reader   text        NOT NULL,
    position bigint      NOT NULL,
    slot     smallint    NOT NULL,
    key      text        NOT NULL,
    subject  text        NOT NULL,
    headers  jsonb       NOT NULL DEFAULT '{}',
    data     bytea       NOT NULL,
    since    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (reader, position)
);
CREATE INDEX waiting_key ON waiting (reader, key, position);

-- Facts that could not be applied (`head`), and the later ones of the same key, which wait behind them.
CREATE TABLE parked (
    id         bigserial   PRIMARY KEY,
    reader     text        NOT NULL,
    stream     text        NOT NULL,
    slot       smallint    NOT NULL,
    position   bigint      NOT NULL,
    key        text        NOT NULL,
    subject    text        NOT NULL,
    headers    jsonb       NOT NULL DEFAULT '{}',
    data       bytea       NOT NULL,
    reason     text        NOT NULL,
    head       boolean     NOT NULL,
    state      text        NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'redrive', 'done', 'skipped')),
    parked_at  timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    settled_by text,
    UNIQUE (reader, position)
);
CREATE INDEX parked_unsettled ON parked (reader, key, position) WHERE state IN ('parked', 'redrive');

-- The lowest position a relay may start from, per creation of its stream.
CREATE TABLE relay_floor (
    stream   text   NOT NULL,
    created  text   NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (stream, created)
);

-- Every version of the workspace this service has heard.
CREATE TABLE workspace (
    version  integer     PRIMARY KEY CHECK (version > 0),
    document jsonb       NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
);

-- History is not changed by those who write it: only the schema's owner may, by hand.
CREATE FUNCTION refuse_to_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER') THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

-- Make a table append-only for the service's role, which is named like its schema.
CREATE PROCEDURE make_append_only(target regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s'
                   ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_forget()', target);
    IF to_regrole(quote_ident(current_schema())) IS NOT NULL THEN
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM %I', target, current_schema());
    END IF;
END $$;

CALL make_append_only('workspace');
