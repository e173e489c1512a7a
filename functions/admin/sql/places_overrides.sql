-- The numbers of places that operators have said.
SELECT function, places, changed_at AS at, changed_by AS by, why
FROM nightshift.places_override
