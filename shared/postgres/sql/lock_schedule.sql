-- Whoever comes while somebody decides waits here, and then finds the cursor advanced.
SELECT queue, definition, revision, release, cursor_at, paused_at
FROM nightshift.schedule
WHERE function = $1
FOR UPDATE
