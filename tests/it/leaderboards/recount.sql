-- All boards of the test from all events, by Postgres's own calendar and plain aggregates.
WITH event AS (
    SELECT e.* FROM app.score_event AS e
    WHERE e.score IS NOT NULL AND NOT EXISTS (SELECT FROM app.score_event AS v WHERE v.voids = e.event_id)
), board AS (
    SELECT b.*, kind FROM nightshift.leaderboard AS b, unnest(b.windows) AS kind
), placed AS (
    SELECT b.name, b.aggregation, b.direction, b.kind, g.grp, e.user_id, e.score, e.occurred_at, e.event_id,
        CASE b.kind
            WHEN 'daily' THEN to_char(e.occurred_at AT TIME ZONE b.zone, 'YYYY-MM-DD')
            WHEN 'weekly' THEN to_char(e.occurred_at AT TIME ZONE b.zone, 'IYYY-"W"IW')
            WHEN 'monthly' THEN to_char(e.occurred_at AT TIME ZONE b.zone, 'YYYY-MM')
            ELSE 'all-time'
        END AS label
    FROM board AS b
    JOIN event AS e ON e.board = b.selector
    CROSS JOIN LATERAL (
        SELECT '' AS grp UNION ALL SELECT e.country FROM unnest(b.groups) WHERE e.country <> ''
    ) AS g
), ranked AS (
    SELECT *, count(*) OVER per_user AS events,
        row_number() OVER (
            PARTITION BY name, kind, label, grp, user_id
            ORDER BY
                CASE WHEN aggregation = 'last' THEN -extract(epoch FROM occurred_at) END,
                CASE WHEN aggregation = 'last' THEN event_id::text END COLLATE "C" DESC,
                CASE WHEN (aggregation = 'best') = (direction = 'ascending') THEN score ELSE -score END,
                occurred_at, event_id
        ) AS place,
        sum(score) OVER per_user AS total, max(occurred_at) OVER per_user AS latest
    FROM placed
    WINDOW per_user AS (PARTITION BY name, kind, label, grp, user_id)
)
SELECT name, kind, label, grp, user_id,
    (CASE aggregation WHEN 'sum' THEN total WHEN 'count' THEN events ELSE score END)::bigint,
    (extract(epoch FROM CASE WHEN aggregation IN ('sum', 'count') THEN latest ELSE occurred_at END) * 1000000)::bigint,
    events
FROM ranked WHERE place = 1
ORDER BY 1, 2, 3, 4, 5
