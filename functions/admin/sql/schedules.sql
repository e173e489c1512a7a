SELECT schedule.function, paused_at, cursor_at, tick.due_at AS "last?", tick.state AS "last_state?"
FROM nightshift.schedule
LEFT JOIN LATERAL (
    SELECT due_at, state FROM nightshift.schedule_tick AS tick
    WHERE tick.function = schedule.function
    ORDER BY due_at DESC, id DESC
    LIMIT 1) AS tick ON true
ORDER BY schedule.function
