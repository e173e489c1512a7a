-- What operators have said that every try of a message has to know: which functions are paused, and which
-- rates count instead of those of the code.
SELECT function AS "name!", NULL::bigint AS count, NULL::bigint AS per_micros, NULL::bigint AS burst
FROM nightshift.control
UNION ALL
SELECT name, count, per_micros, burst FROM nightshift.rate_override
