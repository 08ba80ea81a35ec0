-- Mail: what a request's next answer is called and answers, and what each answer was when it was written.
-- depends: 0001.notify

-- `ids` are the message ids of the thread, the latest last; one of ours is the message's own id, without brackets.
CREATE TABLE mail_threads (
    request_id uuid PRIMARY KEY,
    title text NOT NULL,
    ids text[] NOT NULL
);

CREATE TABLE letters (
    message_id uuid PRIMARY KEY,
    subject text NOT NULL,
    ids text[] NOT NULL,
    automatic boolean NOT NULL
);
