-- Whether the message has a place: fewer others hold one than $4, or what an operator says of the function
-- $5, and none that came before it waits.
SELECT count(*) FILTER (WHERE reason <> 'queued') < coalesce(
        (SELECT places FROM nightshift.places_override WHERE places_override.function = $5), $4)
    AND count(*) FILTER (WHERE reason = 'queued' AND sequence_number < $3) = 0 AS "has_place!"
FROM nightshift.open_message
WHERE concurrency_key = $1 AND key <> $2
