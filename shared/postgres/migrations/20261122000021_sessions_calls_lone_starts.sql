-- More reasons to wait. `parked`: an earlier message of the session waits, nothing wakes it but that
-- one's end; `turn`: it has ended; `continue`: the next slice of long work; `calling`: a call to
-- another system is under way until due_at; `unknown`: nobody knows how a call ended; `redrive`: it
-- was dead and an operator wants it tried again.
ALTER TABLE nightshift.open_message
    DROP CONSTRAINT open_message_reason_check,
    ADD CONSTRAINT open_message_reason_check CHECK (reason IN
        ('retry', 'snooze', 'continue', 'parked', 'turn', 'calling', 'unknown', 'redrive')),
    ADD COLUMN call_id uuid; -- of the last call

CREATE INDEX open_message_by_session ON nightshift.open_message (function, session_id, sequence_number)
    WHERE session_id IS NOT NULL;

ALTER TABLE nightshift.dead_letter
    ADD COLUMN queue text, -- where it came from; null: not known, buried by an earlier release
    ADD COLUMN holds_session boolean NOT NULL DEFAULT false; -- later messages of its session wait for it

CREATE INDEX dead_letter_by_held_session ON nightshift.dead_letter (function, session_id, sequence_number)
    WHERE holds_session;

-- Messages whose deliveries have ended without an outcome too often: each is run by itself, and that it
-- is started is committed before. What is here although its process is gone may have killed it.
CREATE TABLE nightshift.lone_start (
    key        uuid        PRIMARY KEY,
    function   text        NOT NULL,
    process    uuid        NOT NULL, -- the process of the last start; as long as it lives, it was not killed
    starts     integer     NOT NULL DEFAULT 1,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
