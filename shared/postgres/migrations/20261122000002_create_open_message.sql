-- Messages that wait: for another try, or for their time. The row carries the work; the copy that is
-- scheduled in the broker is only the alarm clock that brings it back, and runs only if its number is
-- the row's. See rule 3 of docs/GUARANTEES.md.
CREATE TABLE nightshift.open_message (
    key             uuid        PRIMARY KEY,
    function        text        NOT NULL,
    queue           text        NOT NULL, -- where its copies go
    gen             integer     NOT NULL CHECK (gen > 0), -- the number of the newest copy
    attempt         integer     NOT NULL CHECK (attempt >= 0), -- failed tries so far
    reason          text        NOT NULL CHECK (reason IN ('retry', 'snooze')), -- why it waits
    due_at          timestamptz NOT NULL,
    rescue_at       timestamptz NOT NULL, -- when another copy is sent, should this one not have come
    rescues         integer     NOT NULL DEFAULT 0,
    last_error      text,
    message_id      text,                 -- of the original, and so on
    session_id      text,
    sequence_number bigint      NOT NULL,
    enqueued_at     timestamptz NOT NULL,
    properties      json        NOT NULL, -- `json`, as in dead_letter
    body            bytea       NOT NULL,
    body_hash       uuid        NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX open_message_by_rescue ON nightshift.open_message (rescue_at);
