-- A start by the process of the last one tells that it is alive, so that start did not kill it.
INSERT INTO nightshift.lone_start AS mark (key, function, process)
VALUES ($1, $2, $3)
ON CONFLICT (key) DO UPDATE
SET starts = CASE WHEN mark.process = excluded.process THEN mark.starts ELSE mark.starts + 1 END,
    process = excluded.process,
    started_at = clock_timestamp()
RETURNING starts
