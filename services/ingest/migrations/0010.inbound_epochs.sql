-- INBOUND by epochs: every creation and every set-back begins one, and sequences are counted within it.
-- depends: 0009.aliases 0003.epochs

CREATE TABLE inbound_epoch (
    number         integer     PRIMARY KEY,
    stream_created text        NOT NULL,
    cause          text        NOT NULL CHECK (cause IN ('created', 'set_back')),
    began_at       timestamptz NOT NULL DEFAULT now(),
    -- Up to here it began with the messages of the epoch before.
    shared         bigint      NOT NULL DEFAULT 0,
    -- Up to here its sequences are still those of INBOUND as it is now.
    kept           bigint      NOT NULL DEFAULT 9223372036854775807,
    -- The highest sequence that was acknowledged to any door.
    acked          bigint      NOT NULL DEFAULT 0,
    acked_id       text        NOT NULL DEFAULT '',
    acked_at       timestamptz
);

-- Losses that a person has looked at: how many in all, from the first epoch on.
CREATE TABLE inbound_loss (
    id     bigserial   PRIMARY KEY,
    lost   bigint      NOT NULL,
    reason text        NOT NULL,
    by     text        NOT NULL,
    at     timestamptz NOT NULL
);

INSERT INTO inbound_epoch (number, stream_created, cause, kept)
SELECT row_number() OVER (ORDER BY at), max(written), 'created',
    CASE WHEN at = max(at) OVER () THEN 9223372036854775807 ELSE 0 END
FROM (
    SELECT stream_created AS at, stream_created::text AS written FROM item
    UNION ALL
    SELECT stream_created::timestamptz, stream_created FROM reader_position
    WHERE reader IN ('inbound', 'mail') AND stream_created <> ''
) creations GROUP BY at;

ALTER TABLE item ADD COLUMN epoch integer NOT NULL DEFAULT 1;
UPDATE item i SET epoch = e.number FROM inbound_epoch e
WHERE e.stream_created::timestamptz = i.stream_created AND e.number <> 1;
UPDATE reader_position p SET epoch = e.number FROM inbound_epoch e
WHERE p.reader IN ('inbound', 'mail') AND p.stream_created = e.stream_created;

DROP INDEX item_delivery;
CREATE UNIQUE INDEX item_delivery ON item (epoch, sequence) WHERE n = 0;
