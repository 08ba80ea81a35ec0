-- Mails are read by a reader of their own, from where the one of all channels had come.
-- depends: 0007.copies

INSERT INTO reader_position (reader, slot, position, stream_created, stream_sequence)
SELECT 'mail', slot, position, stream_created, stream_sequence
FROM reader_position WHERE reader = 'inbound'
ON CONFLICT DO NOTHING;
