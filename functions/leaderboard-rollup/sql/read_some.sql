-- The scores of some people in a window, closed or open, in the order of its ranks.
SELECT user_id AS "user_id!", score AS "score!", achieved_at AS "achieved_at!"
FROM (
    SELECT user_id, score, achieved_at FROM nightshift.leaderboard_score
    WHERE board_window = $1 AND user_id = ANY ($3::uuid[])
    UNION ALL
    SELECT user_id, score, achieved_at FROM nightshift.leaderboard_final
    WHERE board_window = $1 AND user_id = ANY ($3)
) AS s
ORDER BY
    CASE WHEN $2::boolean THEN -score ELSE score END,
    CASE WHEN $4::boolean THEN date_trunc('second', achieved_at) END,
    CASE WHEN $2 THEN user_id END DESC, CASE WHEN NOT $2 THEN user_id END
