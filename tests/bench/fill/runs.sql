-- $1 runs of the last thirty days: of a hundred one has not ended, one is dead and one is cancelled.
INSERT INTO nightshift.run
    (key, function, epoch, progress, report, started_at, changed_at, ended_at, cancelled)
SELECT md5('run' || n)::uuid,
    CASE WHEN dice % 10 < 6 THEN 'reports-build' WHEN dice % 10 < 9 THEN 'orders-import' ELSE 'mail-digest' END,
    1 + dice % 3,
    json_build_object('step', 'writing', 'done', dice % 5000, 'of', 5000, 'shard', dice % 16),
    CASE WHEN n % 100 > 2 THEN json_build_object('file', 'exports/2026/invoice-' || n || '.csv',
        'rows', dice % 5000, 'bytes', dice % 9000000, 'warnings', json_build_array()) END,
    began, began + interval '3 minutes',
    CASE WHEN n % 100 > 0 THEN began + interval '3 minutes' END,
    CASE WHEN n % 100 = 2 THEN 'cancelled by key:otto: superseded by run ' || n + 1 END
FROM (
    SELECT n, hashint4(n) & 2147483647 AS dice, now() - interval '30 days' * (1 - n::float8 / $1) AS began
    FROM generate_series(1, $1) AS n) AS run
ORDER BY n
