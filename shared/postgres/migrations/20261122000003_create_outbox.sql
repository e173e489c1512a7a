-- Messages that a committed transaction has promised to send. Whoever committed sends them at once
-- and deletes them; what is still here after ten seconds is sent by whoever finds it. A message may
-- be sent twice, with one id: its receiver recognises that.
CREATE TABLE nightshift.outbox (
    id          uuid        PRIMARY KEY, -- by time of writing
    queue       text        NOT NULL,
    message_id  text        NOT NULL,
    session_id  text,
    due_at      timestamptz,             -- not delivered before
    properties  json        NOT NULL,
    body        bytea       NOT NULL,
    wakes       uuid,                    -- the key in open_message that this is a copy of
    written_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_try_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '10 seconds',
    tries       integer     NOT NULL DEFAULT 0, -- by others than the committer
    last_error  text
);

CREATE INDEX outbox_by_next_try ON nightshift.outbox (next_try_at);
