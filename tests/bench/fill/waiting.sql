-- $1 messages that wait, and the runs that have not ended; none of them is due today.
INSERT INTO nightshift.open_message
    (key, function, queue, gen, attempt, reason, due_at, rescue_at, last_error, message_id,
     sequence_number, enqueued_at, properties, body, body_hash, opened_at, changed_at)
SELECT key, function, queue, 1 + dice % 5, dice % 12, reason, due, due + interval '2 minutes',
    CASE WHEN reason IN ('retry', 'limited') THEN
        'POST https://mail.example/v1/send: 503 after ' || dice % 30 || ' s: connection reset by peer' END,
    'message-' || n, n, opened, json_build_object('tenant', dice % 500, 'traceparent',
        '00-' || md5(n::text) || '-' || left(md5('span' || n), 16) || '-01'),
    body, encode(substr(sha256(body), 1, 16), 'hex')::uuid, opened, opened
FROM (
    SELECT n, dice, opened, md5('waiting' || n)::uuid AS key,
        CASE WHEN dice % 10 < 6 THEN 'mail-send' WHEN dice % 10 < 9 THEN 'orders-import'
            ELSE 'notifications-dispatch' END AS function,
        CASE WHEN dice % 10 < 6 THEN 'mail' WHEN dice % 10 < 9 THEN 'orders'
            ELSE 'notifications' END AS queue,
        CASE WHEN dice % 20 < 10 THEN 'retry' WHEN dice % 20 < 14 THEN 'snooze'
            WHEN dice % 20 < 19 THEN 'limited' ELSE 'closed' END AS reason,
        now() + interval '1 day' * (1 + dice % 7) AS due
    FROM (
        SELECT n, hashint4(n) & 2147483647 AS dice, now() - interval '13 days' * (1 - n::float8 / $1) AS opened
        FROM generate_series(1, $1) AS n) AS waits
    UNION ALL
    SELECT row_number() OVER (), hashtext(key::text) & 2147483647, greatest(started_at, now() - interval '13 days'), key,
        function, 'reports', CASE WHEN get_byte(uuid_send(key), 0) < 50 THEN 'calling' ELSE 'continue' END,
        now() + interval '1 day'
    FROM nightshift.run WHERE ended_at IS NULL) AS waiting
CROSS JOIN LATERAL (SELECT convert_to(json_build_object('schema_version', 1, 'order', n, 'customer', dice % 90000,
    'note', repeat('as agreed on the phone ', dice % 20))::text, 'UTF8') AS body) AS content
ORDER BY opened
