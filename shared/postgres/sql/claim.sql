-- The keys of those that are new. What it does stands in its migration.
SELECT nightshift.claim($1, $2, $3, $4) AS "key!"
