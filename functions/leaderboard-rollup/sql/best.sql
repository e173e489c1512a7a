-- The best of a window, in the order of its ranks.
SELECT user_id, score, achieved_at
FROM nightshift.leaderboard_score
WHERE board_window = $1
ORDER BY
    CASE WHEN $2::boolean THEN -score ELSE score END, date_trunc('second', achieved_at),
    CASE WHEN $2 THEN user_id END DESC, CASE WHEN NOT $2 THEN user_id END
LIMIT $3
