-- More reasons to wait. `parked`: an earlier message of the session waits, nothing wakes it but that
-- one's end; `turn`: it has ended; `continue`: the next slice of long work; `calling`: a call to
-- another system is under way until due_at; `unknown`: nobody knows how a call ended; `redrive`: it
-- was dead and an operator wants it tried again; `paused`: its function is.
ALTER TABLE nightshift.open_message
    DROP CONSTRAINT open_message_reason_check,
    ADD CONSTRAINT open_message_reason_check CHECK (reason IN
        ('retry', 'snooze', 'continue', 'parked', 'turn', 'calling', 'unknown', 'redrive', 'paused')),
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

-- Long work: who is at it, how far it is, and what came of it. Whoever starts or takes over counts the
-- epoch up, and every write of a run is guarded by it. The lease is due_at of the row in open_message,
-- which carries the work.
CREATE TABLE nightshift.run (
    key          uuid        PRIMARY KEY,
    function     text        NOT NULL,
    epoch        integer     NOT NULL DEFAULT 1,
    saved        json,                 -- where a take-over goes on
    progress     json,                 -- for people
    report       json,                 -- what came of it
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(), -- of the first start
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz
);

CREATE INDEX run_by_function ON nightshift.run (function, started_at);

-- Messages that were sent together, and the one that is sent when all of them have ended.
CREATE TABLE nightshift.fan_out (
    id          uuid        PRIMARY KEY, -- the children's property ns-parent
    open        integer     NOT NULL CHECK (open >= 0), -- children that have not ended
    failed      integer     NOT NULL DEFAULT 0,         -- children that are dead
    queue       text        NOT NULL,                   -- of the finish message, and so on
    message_id  text        NOT NULL,
    session_id  text,
    properties  json        NOT NULL,
    body        bytea       NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX open_message_by_pause ON nightshift.open_message (function, sequence_number)
    WHERE reason = 'paused';

-- Functions that an operator has stopped: their messages wait.
CREATE TABLE nightshift.control (
    function  text        PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_by text        NOT NULL,
    why       text        NOT NULL
);
