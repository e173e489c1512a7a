-- The rates that operators have said.
SELECT name, count, per_micros, burst, changed_at AS at, changed_by AS by, why
FROM nightshift.rate_override
