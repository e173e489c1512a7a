-- Idempotent by function: whoever comes second finds the first one's row. A schedule begins when it is
-- first seen; at a wake-up it begins before that, so that the tick that it was woken for counts.
INSERT INTO nightshift.schedule (function, queue, definition, release, cursor_at)
VALUES ($1, $2, $3, $4, nightshift.now() - make_interval(secs => $5))
ON CONFLICT DO NOTHING
