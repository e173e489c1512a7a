-- A stretch of a closed window: from position $2 to $3, or somebody with $5 better and $6 worse ones.
SELECT user_id, score, achieved_at, position, rank, dense_rank
FROM nightshift.leaderboard_final
WHERE board_window = $1 AND position
    BETWEEN coalesce($2, (SELECT me.position FROM nightshift.leaderboard_final AS me
        WHERE me.board_window = $1 AND me.user_id = $4) - $5::bigint)
    AND coalesce($3, (SELECT me.position FROM nightshift.leaderboard_final AS me
        WHERE me.board_window = $1 AND me.user_id = $4) + $6::bigint)
ORDER BY position
