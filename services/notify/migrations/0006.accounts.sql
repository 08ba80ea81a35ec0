-- What is due is looked for by account, so that a slow one is in no other's way.
-- depends: 0005.doubts

CREATE INDEX sends_account_due ON sends (channel, account, next_at) WHERE next_at IS NOT NULL;
