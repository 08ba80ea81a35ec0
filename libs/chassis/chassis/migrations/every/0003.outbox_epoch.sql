-- Epochs of the outbox. Facts from `first_position` on were recorded after PostgreSQL had lost some that were
-- published already; their ids carry the epoch, so that nobody takes them for the lost ones. Empty: epoch 0.
-- depends: 0001.chassis

CREATE TABLE outbox_epoch (
    epoch          bigint      PRIMARY KEY CHECK (epoch > 0),
    first_position bigint      NOT NULL CHECK (first_position > 0),
    began_at       timestamptz NOT NULL
);

CALL make_append_only('outbox_epoch');
