-- A key that waits or is dead has its claim in the inbox, too.
SELECT 'waiting' AS "state!", function AS "function!", due_at AS "at!",
    concat_ws(': ', reason, last_error) AS why
FROM nightshift.open_message WHERE key = $1
UNION ALL
SELECT 'dead', function, dead_at, concat_ws(': ', reason, description)
FROM nightshift.dead_letter WHERE key = $1
UNION ALL
SELECT CASE WHEN skipped IS NULL THEN 'done' ELSE 'skipped' END, function, finished_at, skipped
FROM nightshift.inbox WHERE key = $1
LIMIT 1
