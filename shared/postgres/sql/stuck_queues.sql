-- Concurrency keys of which messages wait although none is at work, so that nobody would wake them.
SELECT DISTINCT concurrency_key AS "key!"
FROM nightshift.open_message AS queued
WHERE reason = 'queued' AND concurrency_key IS NOT NULL
  AND NOT EXISTS (
    SELECT FROM nightshift.open_message AS holder
    WHERE holder.concurrency_key = queued.concurrency_key AND holder.reason <> 'queued')
LIMIT $1
