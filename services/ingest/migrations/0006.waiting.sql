-- Remarks are found by any of the names of the message they are about, however many others wait beside them.
-- depends: 0005.machines

-- One that names no message (a receipt of everything until then) waits under its conversation.
CREATE TABLE early_name (
    name       uuid     NOT NULL,
    inbound_id uuid     NOT NULL,
    n          smallint NOT NULL,
    PRIMARY KEY (name, inbound_id, n),
    FOREIGN KEY (inbound_id, n) REFERENCES early (inbound_id, n) ON DELETE CASCADE
);
CREATE INDEX early_name_early ON early_name (inbound_id, n);
INSERT INTO early_name SELECT key, inbound_id, n FROM early;
ALTER TABLE early DROP COLUMN key;
