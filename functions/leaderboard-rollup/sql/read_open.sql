-- Somebody of an open window with $4 better and $5 worse ones.
WITH ranked AS MATERIALIZED (
    SELECT
        user_id, score, achieved_at,
        row_number() OVER (ORDER BY worth, CASE WHEN $6::boolean THEN date_trunc('second', achieved_at) END,
            CASE WHEN $2 THEN user_id END DESC, CASE WHEN NOT $2 THEN user_id END) AS position,
        rank() OVER (ORDER BY worth) AS rank,
        dense_rank() OVER (ORDER BY worth) AS dense_rank
    FROM (
        SELECT user_id, score, achieved_at, CASE WHEN $2::boolean THEN -score ELSE score END AS worth
        FROM nightshift.leaderboard_score WHERE board_window = $1
    ) AS s
)
SELECT
    r.user_id, r.score, r.achieved_at, r.position AS "position!", r.rank AS "rank!", r.dense_rank AS "dense_rank!"
FROM ranked AS me
JOIN ranked AS r ON r.position BETWEEN me.position - $4::bigint AND me.position + $5::bigint
WHERE me.user_id = $3
ORDER BY r.position
