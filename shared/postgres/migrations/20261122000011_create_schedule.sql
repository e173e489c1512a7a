-- The database's clock, by which schedules go: one for all processes. A function, so that a test can
-- put another in its place.
CREATE FUNCTION nightshift.now() RETURNS timestamptz
    LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';

-- How far each scheduled function has come. Whoever decides anything about its ticks locks its row
-- first.
CREATE TABLE nightshift.schedule (
    function   text        PRIMARY KEY,
    queue      text        NOT NULL, -- where the messages of its ticks go
    definition text        NOT NULL, -- the schedule, as JSON
    revision   integer     NOT NULL DEFAULT 1, -- how many definitions there have been
    release    timestamptz NOT NULL, -- the newest release that was seen; an older one with another definition writes nothing
    cursor_at  timestamptz NOT NULL, -- ticks up to here have been decided on; only advances
    paused_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every tick, whatever became of it.
CREATE TABLE nightshift.schedule_tick (
    id         text        PRIMARY KEY, -- of the tick and of its message: function, due time, request
    function   text        NOT NULL,
    kind       text        NOT NULL CHECK (kind IN ('tick', 'run-now', 'backfill')),
    request    text,                 -- of a run-now or backfill: who asked
    due_at     timestamptz NOT NULL,
    last_at    timestamptz NOT NULL, -- with several ticks in one row, when the last of them was due
    ticks      integer,              -- how many ticks this row stands for; null: more than ten thousand
    revision   integer     NOT NULL, -- of the schedule
    state      text        NOT NULL
        CHECK (state IN ('enqueued', 'buffered', 'done', 'failed', 'skipped', 'cancelled')),
    why        text,                 -- skipped, cancelled or failed
    run_at     timestamptz NOT NULL, -- when its message is delivered at the earliest: due, and the jitter
    body       bytea,                -- of its message
    sends      integer     NOT NULL DEFAULT 0,
    resend_at  timestamptz,          -- enqueued: when its message is sent again, should it have been lost; null: its work is split
    written_at timestamptz NOT NULL,
    ended_at   timestamptz
);

CREATE INDEX schedule_tick_by_function ON nightshift.schedule_tick (function, due_at);
CREATE INDEX schedule_tick_by_request ON nightshift.schedule_tick (function, request)
    WHERE request IS NOT NULL;
CREATE INDEX schedule_tick_open ON nightshift.schedule_tick (function, written_at, due_at)
    WHERE state IN ('enqueued', 'buffered');
CREATE INDEX schedule_tick_by_end ON nightshift.schedule_tick (written_at)
    WHERE state NOT IN ('enqueued', 'buffered');
