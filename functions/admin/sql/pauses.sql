-- What is paused: functions that messages call, and schedules, of which the audit says who.
SELECT function AS "function!", paused_at AS "at!", paused_by AS "by", why
FROM nightshift.control
UNION ALL
SELECT function, paused_at, NULL, NULL FROM nightshift.schedule WHERE paused_at IS NOT NULL
