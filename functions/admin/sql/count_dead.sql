SELECT count(*) AS "count!"
FROM (SELECT FROM nightshift.dead_letter WHERE function = $1 LIMIT $2) AS counted
