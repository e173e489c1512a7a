-- Readers ask for the current window of a board or of a group, and for the latest ones.
CREATE INDEX leaderboard_window_by_start
    ON nightshift.leaderboard_window (board, group_name, group_value, kind, starts_at DESC);
