-- What edits, deletions, reactions and receipts are about; what came before its message; who is banned.
-- depends: 0002.threads

-- The message's name within its conversation, where the platform's id alone does not name it.
ALTER TABLE item ADD COLUMN platform uuid;
CREATE INDEX item_platform ON item (platform, received_at) WHERE platform IS NOT NULL;

-- What we wrote, and how far it has come.
CREATE TABLE outgoing (
    message_id   uuid PRIMARY KEY,
    request_id   uuid NOT NULL,
    conversation uuid NOT NULL,
    platform     uuid,
    written_at   timestamptz,
    sent_at      timestamptz,
    state        text
);
CREATE INDEX outgoing_platform ON outgoing (platform) WHERE platform IS NOT NULL;
CREATE INDEX outgoing_conversation ON outgoing (conversation, written_at);

-- Remarks about messages that have not come yet, under the conversation they were said in, else the message.
CREATE TABLE early (
    inbound_id  uuid        NOT NULL,
    n           smallint    NOT NULL,
    key         uuid        NOT NULL,
    channel     text        NOT NULL,
    account     text        NOT NULL,
    received_at timestamptz NOT NULL,
    traceparent text,
    item        json        NOT NULL,
    PRIMARY KEY (inbound_id, n)
);
CREATE INDEX early_key ON early (key);
CREATE INDEX early_account ON early (channel, account);
CREATE INDEX early_received ON early (received_at);

CREATE TABLE ban (
    name   text        PRIMARY KEY,
    what   text        NOT NULL CHECK (what IN ('contact', 'address', 'network')),
    reason text,
    by     text        NOT NULL,
    at     timestamptz NOT NULL
);
-- Whoever changes a ban counts it here, so that others see at a glance whether they know all of them.
CREATE TABLE ban_version (
    id      smallint PRIMARY KEY CHECK (id = 1),
    version bigint   NOT NULL
);
INSERT INTO ban_version VALUES (1, 1);
