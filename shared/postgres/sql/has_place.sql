-- Whether the message has a place: fewer than $4 others hold one, and none that came before it waits.
SELECT count(*) FILTER (WHERE reason <> 'queued') < $4
    AND count(*) FILTER (WHERE reason = 'queued' AND sequence_number < $3) = 0 AS "has_place!"
FROM nightshift.open_message
WHERE concurrency_key = $1 AND key <> $2
