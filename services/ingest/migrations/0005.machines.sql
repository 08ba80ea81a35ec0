-- Whether a conversation's last request was begun by what a machine sent: then no machine begins the next.
-- depends: 0004.mail

ALTER TABLE conversation ADD COLUMN by_machine boolean;
