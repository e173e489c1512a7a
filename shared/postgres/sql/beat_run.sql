-- The process lives; its lease begins anew. Nothing if the run is somebody else's.
WITH beat AS (
    UPDATE nightshift.run SET heartbeat_at = clock_timestamp()
    WHERE key = $1 AND epoch = $2 AND ended_at IS NULL
    RETURNING key)
UPDATE nightshift.open_message AS open
SET due_at = clock_timestamp() + make_interval(secs => $3),
    rescue_at = clock_timestamp() + make_interval(secs => $3)
FROM beat
WHERE open.key = beat.key AND open.reason = 'calling'
RETURNING open.key
