-- The copies that are to run: those with the newest number. Others that come with one wait here for
-- the transaction that runs it, and then find another number or nothing. The order is claim.sql's.
SELECT open.key, open.gen, open.attempt, open.message_id, open.sequence_number
FROM nightshift.open_message AS open
JOIN unnest($1::uuid[], $2::integer[]) AS copy (key, gen)
    ON open.key = copy.key AND open.gen = copy.gen
ORDER BY open.key
FOR UPDATE OF open
