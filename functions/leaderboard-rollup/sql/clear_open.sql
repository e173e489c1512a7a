-- Empties the open windows of a board that end after $3, to be counted anew and shown as a whole.
WITH open AS (
    UPDATE nightshift.leaderboard_window SET changed_run = $2, published_run = NULL
    WHERE board = $1 AND closed_at IS NULL AND ends_at > coalesce($3::timestamptz, '-infinity')
    RETURNING id
)
DELETE FROM nightshift.leaderboard_score WHERE board_window IN (SELECT id FROM open)
