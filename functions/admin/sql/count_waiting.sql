SELECT reason, count(*) AS "count!"
FROM (SELECT reason FROM nightshift.open_message WHERE function = $1 LIMIT $2) AS counted
GROUP BY reason
