-- Empties a board, which is then of this definition. What its windows held goes with them.
WITH gone AS (
    DELETE FROM nightshift.leaderboard_window WHERE board = $1
)
INSERT INTO nightshift.leaderboard_built (board, definition) VALUES ($1, $2)
ON CONFLICT (board) DO UPDATE SET definition = excluded.definition, verified_at = NULL, drift = NULL
