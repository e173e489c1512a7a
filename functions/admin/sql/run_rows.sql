SELECT run.key AS "key!", run.function AS "function!", run.epoch AS "epoch!",
    run.started_at AS "started_at!", run.changed_at AS "changed_at!", run.ended_at AS "ended_at?",
    run.progress::text AS progress, run.report::text AS report,
    coalesce(run.cancelled, dead.description, open.last_error) AS error,
    coalesce(open.attempt, dead.attempt) AS attempt, open.due_at AS "due_at?",
    coalesce(open.message_id, dead.message_id) AS message_id,
    coalesce(open.properties, dead.properties)::text AS properties,
    CASE
        WHEN run.cancelled IS NOT NULL THEN 'cancelled'
        WHEN dead.key IS NOT NULL THEN 'dead'
        WHEN open.reason = 'calling' THEN 'running'
        WHEN open.key IS NOT NULL THEN 'waiting'
        ELSE 'done'
    END AS "state!"
FROM nightshift.run
LEFT JOIN nightshift.open_message AS open ON open.key = run.key
LEFT JOIN nightshift.dead_letter AS dead ON dead.key = run.key
WHERE run.key = ANY($1::uuid[])
