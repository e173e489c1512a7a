-- The last $1 ticks of a schedule that is due every minute, all of which have ended.
INSERT INTO nightshift.schedule_tick
    (id, function, kind, due_at, last_at, ticks, revision, state, why, run_at, sends, written_at, ended_at)
SELECT 'housekeeping-schedule:' || extract(epoch FROM due)::bigint, 'housekeeping-schedule', 'tick', due, due, 1, 1,
    state, CASE state WHEN 'failed' THEN 'the database gave no answer' WHEN 'skipped' THEN 'paused' END,
    due, 1, due, due + interval '2 seconds'
FROM (
    SELECT n, date_trunc('minute', now()) - interval '1 minute' * ($1 - n + 1) AS due,
        CASE WHEN n % 100 = 0 THEN 'failed' WHEN n % 50 = 1 THEN 'skipped' ELSE 'done' END AS state
    FROM generate_series(1, $1) AS n) AS tick
ORDER BY n
