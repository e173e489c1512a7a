INSERT INTO nightshift.rate_override AS said (name, count, per_micros, burst, changed_by, why)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) DO UPDATE
SET count = excluded.count, per_micros = excluded.per_micros, burst = excluded.burst,
    changed_at = excluded.changed_at, changed_by = excluded.changed_by, why = excluded.why
