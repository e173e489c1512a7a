-- Nobody else works for these sessions until the transaction ends. A session that is taken over while
-- its former owner still runs waits here for it.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(E'\n', 'nightshift.session', $1::text, session), 0))::text AS "locked!"
FROM (SELECT session FROM unnest($2::text[]) AS session ORDER BY session OFFSET 0) AS sessions
