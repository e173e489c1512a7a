-- The boards that are counted.
SELECT name, aggregation, direction, windows, zone, top, groups
FROM nightshift.leaderboard WHERE enabled ORDER BY name
