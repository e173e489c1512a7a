-- The process lives; its lease begins anew. Nothing if the run is somebody else's. The run's own row is
-- not touched: a transaction of the run may hold it for long.
UPDATE nightshift.open_message AS open
SET due_at = clock_timestamp() + make_interval(secs => $3),
    rescue_at = clock_timestamp() + make_interval(secs => $3)
WHERE open.key = $1 AND open.reason = 'calling'
  AND EXISTS (SELECT FROM nightshift.run WHERE run.key = $1 AND run.epoch = $2 AND run.ended_at IS NULL)
RETURNING open.key
