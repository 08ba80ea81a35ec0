-- Who has a part in a conversation by mail: who wrote, to whom it was sent, and whom we wrote to.
-- depends: 0003.remarks

CREATE TABLE participant (
    conversation uuid NOT NULL,
    contact_id   uuid NOT NULL,
    PRIMARY KEY (conversation, contact_id)
);
INSERT INTO participant
SELECT conversation, contact_id FROM named WHERE kind = 'received' AND contact_id IS NOT NULL
UNION
SELECT conversation, contact_id FROM conversation WHERE channel = 'email' AND contact_id IS NOT NULL;
