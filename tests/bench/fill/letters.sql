-- $1 dead letters of the last thirteen days that died of some forty things. All of them say what
-- `notifications-dispatch` can do. If all are to be of one function, it is $2; else the runs that are dead
-- have theirs, too.
INSERT INTO nightshift.dead_letter
    (key, function, queue, reason, description, message_id, sequence_number, delivery_count, enqueued_at,
     properties, body, body_hash, dead_at, attempt, gen, fingerprint)
SELECT key, function, queue, reason, format(template, md5(n::text)::uuid), 'message-' || n, n, 1,
    enqueued, json_build_object('tenant', dice % 500, 'traceparent',
        '00-' || md5(n::text) || '-' || left(md5('span' || n), 16) || '-01'),
    body, encode(substr(sha256(body), 1, 16), 'hex')::uuid, enqueued + interval '4 minutes', dice % 12, 0,
    left(md5(function || reason || template), 16)
FROM (
    SELECT n, hashint4(n) & 2147483647 AS dice,
        now() - interval '5 minutes' - interval '12 days 20 hours' * (1 - n::float8 / $1) AS enqueued,
        md5(coalesce($2, 'letter') || n)::uuid AS key
    FROM generate_series(1, $1) AS n
    UNION ALL
    SELECT row_number() OVER () + $1, hashtext(key::text) & 2147483647,
        greatest(started_at, now() - interval '12 days 20 hours'), key
    FROM nightshift.run
    WHERE $2::text IS NULL AND cancelled IS NULL AND report IS NULL AND ended_at IS NOT NULL) AS letter
CROSS JOIN LATERAL (SELECT coalesce($2, CASE WHEN dice % 20 < 12 THEN 'notifications-dispatch'
    WHEN dice % 20 < 16 THEN 'mail-send' WHEN dice % 20 < 19 THEN 'orders-import' ELSE 'reports-build' END)
    AS function) AS called
CROSS JOIN LATERAL (SELECT CASE function WHEN 'mail-send' THEN 'mail' WHEN 'orders-import' THEN 'orders'
    WHEN 'reports-build' THEN 'reports' ELSE 'notifications' END AS queue) AS came
CROSS JOIN LATERAL (SELECT convert_to(json_build_object('schema_version', 1,
    'user_id', '00000000-0000-4000-8000-' || lpad(to_hex(1 + dice % 200), 12, '0'),
    'kind', 'creature.liked', 'title', 'Letter ' || n,
    'body', repeat('Your creature was liked. ', 1 + dice % 30))::text, 'UTF8') AS body) AS content
JOIN (VALUES
    (0, 39, 'unknown-user', 'user_id: there is no user %s; was the user deleted, or does the producer use another application''s ids?'),
    (40, 64, 'attempts-used-up', 'POST https://mail.example/v1/send: 503: request %s: connection reset by peer'),
    (65, 79, 'attempts-used-up', 'the function was not done in 20 s: order %s'),
    (80, 87, 'invalid-property', 'total: invalid type: string, expected an integer: order %s'),
    (88, 92, 'not-json', 'the body is not JSON: expected value at line 1 column 1: message %s'),
    (93, 95, 'kills-the-process', 'its process ended 3 times while %s was run'),
    (96, 97, 'id-reused', 'another message with the id %s but a different body was processed before'),
    (98, 98, 'expired', 'nobody wanted %s in time'),
    (99, 99, 'given-up-by-broker', 'the broker has given %s up after 100 deliveries')
    ) AS cause (first, last, reason, template) ON dice / 20 % 100 BETWEEN first AND last
ORDER BY enqueued
