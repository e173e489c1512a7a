-- A relation as SQL quotes it, its columns and their types, if we may read it. Names that are none, or of another
-- database, are an error to to_regclass.
SELECT
    format('%I.%I', n.nspname, c.relname) AS "relation!",
    array_agg(a.attname::text ORDER BY a.attnum) AS "columns!",
    array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS "types!",
    EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_attribute AS k ON k.attrelid = c.oid AND k.attname = 'event_id'
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
            AND i.indnkeyatts = 1 AND i.indkey[0] = k.attnum
    ) AS "has_unique_ids!"
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.oid = CASE
        WHEN $1 ~ '^("([^"]|"")+"|[^"[:space:].][^[:space:].]*)([.]("([^"]|"")+"|[^"[:space:].][^[:space:].]*))?$'
            THEN to_regclass($1)
    END
    AND has_schema_privilege(n.oid, 'USAGE')
    AND has_table_privilege(c.oid, 'SELECT')
GROUP BY c.oid, n.nspname, c.relname
