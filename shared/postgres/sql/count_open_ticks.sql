SELECT count(*) FILTER (WHERE state = 'enqueued') AS "enqueued!",
       count(*) FILTER (WHERE state = 'buffered') AS "buffered!"
FROM nightshift.schedule_tick
WHERE function = $1 AND state IN ('enqueued', 'buffered')
