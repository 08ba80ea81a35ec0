-- Acknowledgements of receipt: sent like replies, and who has had one when, and each conversation how many.
-- depends: 0003.mail

ALTER TABLE sends ADD COLUMN kind text NOT NULL DEFAULT 'reply' CHECK (kind IN ('reply', 'acknowledgement'));

CREATE TABLE acknowledged_contacts (
    contact_id uuid PRIMARY KEY,
    at timestamptz NOT NULL
);
CREATE TABLE acknowledged_conversations (
    conversation uuid PRIMARY KEY,
    times integer NOT NULL
);
