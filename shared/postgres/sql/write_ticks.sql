-- Idempotent by id: a tick that is there stays as it is.
INSERT INTO nightshift.schedule_tick
    (id, function, kind, request, due_at, last_at, ticks, revision, state, why, run_at, body, sends,
     resend_at, written_at, ended_at)
SELECT id, $11, kind, request, due_at, last_at, ticks, $12, state, why, run_at, body,
    CASE WHEN state = 'enqueued' THEN 1 ELSE 0 END,
    CASE WHEN state = 'enqueued' THEN greatest(run_at, $13) + interval '15 minutes' END,
    $13,
    CASE WHEN state = 'skipped' THEN $13 END
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::integer[],
            $7::text[], $8::text[], $9::timestamptz[], $10::bytea[])
    AS tick (id, kind, request, due_at, last_at, ticks, state, why, run_at, body)
ON CONFLICT (id) DO NOTHING
