-- Letters are gone, which the inbox explains, and so does the run. Idempotent by key.
WITH gone AS (
    DELETE FROM nightshift.dead_letter WHERE key = ANY($1::uuid[])
    RETURNING key, (enqueued_at AT TIME ZONE 'UTC')::date AS day),
noted AS (
    UPDATE nightshift.inbox SET skipped = $2 FROM gone
    WHERE inbox.key = gone.key AND inbox.enqueued_day = gone.day)
UPDATE nightshift.run SET cancelled = $2 FROM gone
WHERE run.key = gone.key
