-- To a database without a pooler the client itself says these settings when it connects; a pooler changes
-- them later, where it has to. One that carries statements gives them names of its own, so that names of
-- our client's kind (this statement's own is one) are not there. Reads only.
SELECT
    count(*) = 3 AS "is_direct!",
    NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name LIKE 'sqlx\_s\_%') AS "carries!"
FROM pg_settings
WHERE name IN ('DateStyle', 'TimeZone', 'client_encoding') AND source = 'client'
