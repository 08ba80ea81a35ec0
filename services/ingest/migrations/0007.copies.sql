-- Mails by what they are in every mailbox, so that one sent to several of ours opens one request.
-- depends: 0006.waiting

CREATE TABLE mail (
    key        uuid PRIMARY KEY,
    message_id uuid NOT NULL
);
