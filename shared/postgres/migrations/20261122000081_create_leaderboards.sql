-- Leaderboards: what is declared, how far it was counted, and what came of it. docs/LEADERBOARDS.md says
-- how to declare one. The application writes the first three tables; the rest is the job's.

CREATE FUNCTION nightshift.is_zone(zone text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN EXISTS (SELECT FROM pg_catalog.pg_timezone_names WHERE name = zone);

-- A table or view of the application with one row for each event.
CREATE TABLE nightshift.leaderboard_source (
    name     text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    relation text NOT NULL -- schema.name
);

CREATE TABLE nightshift.leaderboard (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text    NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    source      text    NOT NULL REFERENCES nightshift.leaderboard_source (name),
    selector    text,   -- only events whose column "board" has this value; NULL: all
    aggregation text    NOT NULL CHECK (aggregation IN ('sum', 'count', 'best', 'worst', 'last')),
    direction   text    NOT NULL DEFAULT 'descending' CHECK (direction IN ('descending', 'ascending')),
    windows     text[]  NOT NULL DEFAULT '{daily,weekly,monthly,all-time}'
        CHECK (cardinality(windows) > 0 AND windows <@ '{daily,weekly,monthly,all-time,season}'::text[]),
    zone        text    NOT NULL DEFAULT 'UTC' CHECK (nightshift.is_zone(zone)),
    grace       interval NOT NULL DEFAULT '48 hours' CHECK (grace >= '0' AND grace <= '60 days'),
    top         integer NOT NULL DEFAULT 10000 CHECK (top BETWEEN 1 AND 10000000), -- how many Redis holds
    groups      text[]  NOT NULL DEFAULT '{}' -- columns of the source, each value of which is a board of its own
        CHECK (cardinality(groups) <= 4 AND array_position(groups, NULL) IS NULL),
    enabled     boolean NOT NULL DEFAULT true
);

CREATE TABLE nightshift.leaderboard_season (
    board     integer     NOT NULL REFERENCES nightshift.leaderboard (id) ON DELETE CASCADE,
    label     text        NOT NULL CHECK (label ~ '^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$'),
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL CHECK (ends_at > starts_at),
    PRIMARY KEY (board, label)
);

-- How far a source was counted. Locked by whoever counts.
CREATE TABLE nightshift.leaderboard_progress (
    source      text   PRIMARY KEY REFERENCES nightshift.leaderboard_source (name) ON DELETE CASCADE,
    run         bigint NOT NULL DEFAULT 0, -- one more with each count: what fences Redis
    cluster     bigint,      -- the database cluster whose transaction numbers the watermark is of
    watermark   xid8,        -- every event of an earlier transaction was counted
    counted_at  timestamptz, -- everything that was written before was counted
    mark        xid8,        -- once all earlier transactions were counted, that is true of mark_at
    mark_at     timestamptz,
    has_foreign boolean NOT NULL DEFAULT false -- some events came with numbers of another cluster
);

-- Events that were counted although the number of their transaction says that they are yet to come.
CREATE TABLE nightshift.leaderboard_seen (
    source   text NOT NULL REFERENCES nightshift.leaderboard_source (name) ON DELETE CASCADE,
    event_id text NOT NULL,
    PRIMARY KEY (source, event_id)
);

-- The definition that the scores of a board are of.
CREATE TABLE nightshift.leaderboard_built (
    board      integer PRIMARY KEY REFERENCES nightshift.leaderboard (id) ON DELETE CASCADE,
    definition text    NOT NULL
);

-- Events that do not count any more, because a later event says so.
CREATE TABLE nightshift.leaderboard_void (
    source   text NOT NULL REFERENCES nightshift.leaderboard_source (name) ON DELETE CASCADE,
    event_id text NOT NULL, -- the voided one
    by_event text NOT NULL,
    PRIMARY KEY (source, event_id)
);

-- Events that were not counted. Of a flood only the first are here; the report has the numbers.
CREATE TABLE nightshift.leaderboard_rejected (
    source      text        NOT NULL REFERENCES nightshift.leaderboard_source (name) ON DELETE CASCADE,
    event_id    text        NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX leaderboard_rejected_by_time ON nightshift.leaderboard_rejected (rejected_at);

-- People who are to be on no board: they were deleted.
CREATE TABLE nightshift.leaderboard_forgotten (
    user_id      uuid        PRIMARY KEY,
    forgotten_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One window of one board, of everybody or of one group.
CREATE TABLE nightshift.leaderboard_window (
    id            integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    board         integer     NOT NULL REFERENCES nightshift.leaderboard (id) ON DELETE CASCADE,
    kind          text        NOT NULL, -- daily, weekly, monthly, all-time, season
    label         text        NOT NULL, -- 2026-11-22, 2026-W47, 2026-11, all-time or the season's
    group_name    text        NOT NULL DEFAULT '',
    group_value   text        NOT NULL DEFAULT '',
    starts_at     timestamptz NOT NULL, -- half-open
    ends_at       timestamptz NOT NULL,
    closed_at     timestamptz,          -- since when its ranks stand
    is_current    boolean     NOT NULL DEFAULT false, -- as of the last count
    changed_run   bigint      NOT NULL, -- the last count that has changed it
    published_run bigint,               -- the count that Redis shows
    UNIQUE (board, kind, label, group_name, group_value)
);
CREATE INDEX leaderboard_window_open ON nightshift.leaderboard_window (ends_at) WHERE closed_at IS NULL;

-- The scores of open windows.
CREATE TABLE nightshift.leaderboard_score (
    board_window integer     NOT NULL, -- no reference: it would be looked up for each row
    user_id      uuid        NOT NULL,
    score        bigint      NOT NULL,
    achieved_at  timestamptz NOT NULL, -- when the score became what it is
    events       bigint      NOT NULL, -- how many count
    last_event   text,                 -- of aggregation last: the one that counts
    PRIMARY KEY (board_window, user_id)
) WITH (fillfactor = 80);

-- The scores and ranks of closed windows.
CREATE TABLE nightshift.leaderboard_final (
    board_window integer     NOT NULL,
    position     bigint      NOT NULL, -- 1, 2, 3, 4: the earlier one first
    rank         bigint      NOT NULL, -- 1, 2, 2, 4
    dense_rank   bigint      NOT NULL, -- 1, 2, 2, 3
    user_id      uuid        NOT NULL,
    score        bigint      NOT NULL,
    achieved_at  timestamptz NOT NULL,
    events       bigint      NOT NULL,
    PRIMARY KEY (board_window, user_id)
);
CREATE INDEX leaderboard_final_by_position ON nightshift.leaderboard_final (board_window, position);

-- What a correction has changed in a closed window.
CREATE TABLE nightshift.leaderboard_restatement (
    board_window    integer     NOT NULL,
    run             bigint      NOT NULL,
    user_id         uuid        NOT NULL,
    score_before    bigint,     -- NULL: was not on it
    score_after     bigint,     -- NULL: is not on it any more
    position_before bigint,
    position_after  bigint,
    restated_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (board_window, run, user_id)
);
