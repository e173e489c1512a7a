-- Writes the ranks of windows down. The order is the one of Redis: better scores first, of equal ones the
-- one that was reached in an earlier second, then ids as Redis orders members.
WITH gone AS (
    DELETE FROM nightshift.leaderboard_score WHERE board_window = ANY ($1::int[])
    RETURNING board_window, user_id, score, achieved_at, events,
        CASE WHEN $2::boolean THEN -score ELSE score END AS worth
), closed AS (
    UPDATE nightshift.leaderboard_window SET closed_at = $3, changed_run = $4 WHERE id = ANY ($1::int[])
)
INSERT INTO nightshift.leaderboard_final
    (board_window, position, rank, dense_rank, user_id, score, achieved_at, events)
SELECT
    board_window,
    row_number() OVER (PARTITION BY board_window ORDER BY worth, date_trunc('second', achieved_at),
        CASE WHEN $2 THEN user_id END DESC, CASE WHEN NOT $2 THEN user_id END),
    rank() OVER (PARTITION BY board_window ORDER BY worth),
    dense_rank() OVER (PARTITION BY board_window ORDER BY worth),
    user_id, score, achieved_at, events
FROM gone
