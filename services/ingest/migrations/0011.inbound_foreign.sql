-- Messages in INBOUND that are no deliveries: their subject names no account, slot and id.
CREATE TABLE inbound_foreign (
    epoch    integer NOT NULL,
    sequence bigint  NOT NULL,
    subject  text    NOT NULL,
    PRIMARY KEY (epoch, sequence)
);
