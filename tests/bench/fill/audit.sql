-- $1 entries of the last sixty days. Their hashes follow from nothing: only looking at them is measured.
INSERT INTO nightshift.audit (seq, at, actor, action, target, details, hash)
SELECT n, now() - interval '60 days' * (1 - n::float8 / $1),
    'key:' || (ARRAY['ada', 'otto', 'rita', 'pat', 'sam', 'kim'])[1 + dice % 6],
    (ARRAY['dead-letters.redrive', 'dead-letters.redrive', 'dead-letter.edit', 'function.pause',
        'function.resume', 'function.run', 'message.cancel', 'dead-letters.discard'])[1 + dice / 6 % 8],
    (ARRAY['notifications-dispatch', 'mail-send', 'orders-import', 'reports-build'])[1 + dice / 48 % 4],
    jsonb_build_object('why', 'ticket ' || n, 'redriven', dice % 2000,
        'filter', jsonb_build_object('fingerprint', left(md5(n::text), 16))),
    sha256(n::text::bytea)
FROM (SELECT n, hashint4(n) & 2147483647 AS dice FROM generate_series(1, $1) AS n) AS entry
