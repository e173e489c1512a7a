-- Nobody else takes or gives up places of these concurrency keys, or works in the transaction that holds
-- the only one, until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\n', 'nightshift.concurrency', key::text), 0))::text AS "locked!"
FROM (SELECT key FROM unnest($1::uuid[]) AS key ORDER BY key OFFSET 0) AS keys
