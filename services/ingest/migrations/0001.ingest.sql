-- What ingest keeps: who writes, where, and what became of everything that came in.
-- depends: 0002.outbox

CREATE TABLE contact (
    contact_id uuid PRIMARY KEY,
    channel    text NOT NULL,
    account    text NOT NULL,
    address    text NOT NULL,
    name       text,
    language   text,
    email      text,
    phone      text
);

-- A conversation has at most one open request. Whoever reads or changes a row holds the lock of its key.
CREATE TABLE conversation (
    conversation uuid PRIMARY KEY,
    channel      text NOT NULL,
    account      text NOT NULL,
    name         text NOT NULL,
    open_request uuid,
    last_request uuid,
    contact_id   uuid
);

CREATE TABLE request (
    request_id   uuid PRIMARY KEY,
    conversation uuid NOT NULL
);

-- Every item of every delivery, with its outcome. `first` marks the one that took effect; it is unique for ever.
CREATE TABLE item (
    inbound_id     uuid        NOT NULL,
    n              smallint    NOT NULL,
    stream_created timestamptz NOT NULL,
    sequence       bigint      NOT NULL,
    channel        text        NOT NULL,
    account        text        NOT NULL,
    received_at    timestamptz NOT NULL,
    outcome        text        NOT NULL CHECK (
        outcome IN ('opened', 'appended', 'noted', 'duplicate', 'rejected', 'parked')),
    first          boolean     NOT NULL,
    message_id     uuid,
    external_id    text,
    digest         text,
    contact_id     uuid,
    request_id     uuid,
    reason         text,
    threaded_by    text,
    asked          json,
    PRIMARY KEY (inbound_id, n)
);
CREATE UNIQUE INDEX item_first ON item (message_id) WHERE first;
CREATE UNIQUE INDEX item_delivery ON item (stream_created, sequence) WHERE n = 0;
