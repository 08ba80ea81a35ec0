-- A stream with many writers can be set back to an older state, which gives its sequences out again.
-- depends: 0001.chassis

-- `epoch` counts the creations and set-backs of such a stream (0: the stream has one writer and no epochs);
-- `last_id` names the message at `stream_sequence`.
ALTER TABLE reader_position
    ADD COLUMN epoch   integer NOT NULL DEFAULT 0,
    ADD COLUMN last_id text    NOT NULL DEFAULT '';
