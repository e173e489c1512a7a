-- Idempotent by (key, enqueued_day).
UPDATE nightshift.inbox
SET skipped = skip.why
FROM unnest($1::uuid[], $2::date[], $3::text[]) AS skip (key, day, why)
WHERE inbox.key = skip.key AND inbox.enqueued_day = skip.day
