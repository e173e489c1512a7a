INSERT INTO nightshift.places_override AS said (function, places, changed_by, why)
VALUES ($1, $2, $3, $4)
ON CONFLICT (function) DO UPDATE
SET places = excluded.places, changed_at = excluded.changed_at, changed_by = excluded.changed_by,
    why = excluded.why
