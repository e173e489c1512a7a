-- Idempotent: the cursor and the release never go back.
UPDATE nightshift.schedule
SET queue = $2,
    definition = $3,
    revision = $4,
    release = greatest(release, $5),
    cursor_at = greatest(cursor_at, $6)
WHERE function = $1
