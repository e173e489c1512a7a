-- Ranks closed windows anew, in the order in which they were closed.
UPDATE nightshift.leaderboard_final AS f
SET position = r.position, rank = r.rank, dense_rank = r.dense_rank
FROM (
    SELECT
        board_window, user_id,
        row_number() OVER (PARTITION BY board_window ORDER BY worth, date_trunc('second', achieved_at),
            CASE WHEN $2 THEN user_id END DESC, CASE WHEN NOT $2 THEN user_id END) AS position,
        rank() OVER (PARTITION BY board_window ORDER BY worth) AS rank,
        dense_rank() OVER (PARTITION BY board_window ORDER BY worth) AS dense_rank
    FROM (
        SELECT board_window, user_id, achieved_at, CASE WHEN $2::boolean THEN -score ELSE score END AS worth
        FROM nightshift.leaderboard_final WHERE board_window = ANY ($1::int[])
    ) AS s
) AS r
WHERE f.board_window = r.board_window AND f.user_id = r.user_id
    AND (f.position, f.rank, f.dense_rank) IS DISTINCT FROM (r.position, r.rank, r.dense_rank)
