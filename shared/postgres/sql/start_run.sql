-- The first start, or the next one after a failure, a slice or a process that is gone.
INSERT INTO nightshift.run AS run (key, function)
VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE
SET epoch = run.epoch + 1, changed_at = clock_timestamp(), ended_at = NULL
RETURNING epoch, saved::text
