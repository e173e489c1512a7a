-- $2 claims of the day that was $1 days ago.
INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function, skipped, finished_at)
SELECT gen_random_uuid(), current_date - $1, gen_random_uuid(),
    (ARRAY['notifications-dispatch', 'notifications-dispatch', 'notifications-dispatch', 'mail-send',
        'mail-send', 'orders-import', 'housekeeping-work', 'reports-build'])[1 + n % 8],
    CASE WHEN n % 50 = 0 THEN 'there was nothing to do any more' END,
    least(now(), current_date - $1 + interval '1 day' * n / $2)
FROM generate_series(1, $2) AS n
