-- The boards of a source. What scores depend on is in the definition: $2, which says what is read and how, is;
-- grace and top are not.
SELECT
    b.id, b.name, b.selector, b.aggregation, b.direction, b.windows, b.zone, b.top, b.groups,
    extract(epoch FROM b.grace)::bigint AS "grace_seconds!",
    md5(row(b.source, $2::text, b.selector, b.aggregation, b.direction, b.windows, b.zone, b.groups,
        (SELECT array_agg((e.label, e.starts_at, e.ends_at) ORDER BY e.label)::text
            FROM nightshift.leaderboard_season AS e WHERE e.board = b.id))::text) AS "definition!",
    t.definition AS "built?"
FROM nightshift.leaderboard AS b
LEFT JOIN nightshift.leaderboard_built AS t ON t.board = b.id
WHERE b.source = $1 AND b.enabled
ORDER BY b.name
