-- Begins every write of a run, and locks it against a take-over until the transaction ends. Nothing if
-- the run is somebody else's.
UPDATE nightshift.run
SET changed_at = clock_timestamp(),
    saved = coalesce($3::text::json, saved),
    progress = coalesce($4::text::json, progress),
    report = coalesce($5::text::json, report)
WHERE key = $1 AND epoch = $2 AND ended_at IS NULL
RETURNING key
