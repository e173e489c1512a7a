-- Leaderboards are verified each night, and sources that cannot have a column xid can be counted.

ALTER TABLE nightshift.leaderboard_source
    -- How long after it was recorded an event may become visible. NULL: events say which transaction wrote them.
    ADD overlap interval CHECK (overlap > '0' AND overlap <= '7 days'),
    ADD declared_at timestamptz NOT NULL DEFAULT clock_timestamp();

ALTER TABLE nightshift.leaderboard_progress
    -- How the source is counted: by the numbers of transactions, or by time with an overlap.
    ADD mode text NOT NULL DEFAULT 'xid' CHECK (mode IN ('xid', 'overlap')),
    -- By time: all events that were recorded before and visible in time were counted.
    ADD cutoff timestamptz;

-- By time: the events that were recorded after the cut-off and counted, and by which count.
ALTER TABLE nightshift.leaderboard_seen
    ADD recorded_at timestamptz, -- NULL: came with a number of another cluster
    ADD run bigint NOT NULL DEFAULT 0;
CREATE INDEX leaderboard_seen_by_time ON nightshift.leaderboard_seen (source, recorded_at)
    WHERE recorded_at IS NOT NULL;

ALTER TABLE nightshift.leaderboard_built
    ADD verified_at timestamptz, -- when its events were last counted once more
    ADD drift bigint;            -- how many scores of open windows were not what they came to

-- What a window held goes with it, also when its board is deleted.
CREATE FUNCTION nightshift.empty_leaderboard_windows() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM nightshift.leaderboard_score WHERE board_window IN (SELECT id FROM gone);
    DELETE FROM nightshift.leaderboard_final WHERE board_window IN (SELECT id FROM gone);
    DELETE FROM nightshift.leaderboard_restatement WHERE board_window IN (SELECT id FROM gone);
    RETURN NULL;
END $$;
CREATE TRIGGER leaderboard_window_gone AFTER DELETE ON nightshift.leaderboard_window
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
    EXECUTE FUNCTION nightshift.empty_leaderboard_windows();
