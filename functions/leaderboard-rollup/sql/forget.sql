-- Takes people off the boards of a source; in closed windows the others keep their ranks. Whoever was named
-- within the day before the last count is looked at again: the naming may have committed after it.
WITH who AS (
    SELECT f.user_id FROM nightshift.leaderboard_forgotten AS f
    WHERE f.forgotten_at >= coalesce($2::timestamptz - interval '1 day', '-infinity')
), places AS (
    SELECT w.id FROM nightshift.leaderboard_window AS w
    JOIN nightshift.leaderboard AS b ON b.id = w.board WHERE b.source = $1
), scores AS (
    DELETE FROM nightshift.leaderboard_score AS s USING who, places
    WHERE s.board_window = places.id AND s.user_id = who.user_id RETURNING s.board_window
), finals AS (
    DELETE FROM nightshift.leaderboard_final AS f USING who, places
    WHERE f.board_window = places.id AND f.user_id = who.user_id RETURNING f.board_window
), restatements AS (
    DELETE FROM nightshift.leaderboard_restatement AS r USING who, places
    WHERE r.board_window = places.id AND r.user_id = who.user_id
)
SELECT board_window AS "board_window!" FROM scores UNION ALL SELECT board_window FROM finals
