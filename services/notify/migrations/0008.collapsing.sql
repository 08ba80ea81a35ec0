-- Warnings and breaches of waiting requests: one bell per operator, group and kind while it is unread.
-- depends: 0007.suppressions

-- `team` is the group a bell collects for, NULL for all others; `count` is how many facts it stands for. The newest one's
-- request, text and time are the bell's, and its position.
ALTER TABLE notifications ADD COLUMN team text;
ALTER TABLE notifications ADD COLUMN count bigint NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX notifications_collecting ON notifications (recipient, kind, team)
    WHERE read_at IS NULL AND team IS NOT NULL;

-- One row per fact that was told to a group: each recipient, and the bell that collected it. Hearing a fact again adds nothing.
CREATE TABLE group_notices (
    fact_id uuid PRIMARY KEY,
    request_id uuid NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    recipients text[] NOT NULL,
    bells uuid[] NOT NULL
);
CREATE INDEX group_notices_request ON group_notices (request_id);
