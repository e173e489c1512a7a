-- Writes down what a correction has changed of these users in closed windows.
WITH before AS (
    SELECT * FROM unnest($4::int[], $5::uuid[], $6::bigint[], $7::bigint[])
        AS b (board_window, user_id, score, position)
), after AS (
    SELECT board_window, user_id, score, position FROM nightshift.leaderboard_final
    WHERE board_window = ANY ($1::int[]) AND user_id = ANY ($2::uuid[])
)
INSERT INTO nightshift.leaderboard_restatement
    (board_window, run, user_id, score_before, score_after, position_before, position_after)
SELECT board_window, $3, user_id, b.score, a.score, b.position, a.position
FROM before AS b FULL JOIN after AS a USING (board_window, user_id)
WHERE (b.score, b.position) IS DISTINCT FROM (a.score, a.position)
ON CONFLICT (board_window, run, user_id) DO UPDATE
SET score_after = excluded.score_after, position_after = excluded.position_after
