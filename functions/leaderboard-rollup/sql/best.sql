-- The best of an open window in the order of its ranks; $4: of equal scores the one of an earlier second first.
SELECT user_id, score, achieved_at
FROM nightshift.leaderboard_score
WHERE board_window = $1
ORDER BY
    CASE WHEN $2::boolean THEN -score ELSE score END,
    CASE WHEN $4::boolean THEN date_trunc('second', achieved_at) END,
    CASE WHEN $2 THEN user_id END DESC, CASE WHEN NOT $2 THEN user_id END
LIMIT $3
