-- Empties a board, which is then of this definition.
WITH gone AS (
    DELETE FROM nightshift.leaderboard_window WHERE board = $1 RETURNING id
), scores AS (
    DELETE FROM nightshift.leaderboard_score WHERE board_window IN (SELECT id FROM gone)
), finals AS (
    DELETE FROM nightshift.leaderboard_final WHERE board_window IN (SELECT id FROM gone)
)
INSERT INTO nightshift.leaderboard_built (board, definition) VALUES ($1, $2)
ON CONFLICT (board) DO UPDATE SET definition = excluded.definition
