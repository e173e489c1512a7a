-- Claims messages of one day for a function and returns the keys that are new. Idempotent by
-- (key, enqueued_day). The order makes two batches with the same keys lock them in the same order, so that
-- they queue up instead of deadlocking.
--
-- That the day is a parameter lets the server read and write only the partitions that it needs (it locks
-- all of them against being dropped). By itself it would plan the statement anew each time, which takes longer
-- than to claim one message.
CREATE FUNCTION nightshift.claim(keys uuid[], day date, hashes uuid[], function text) RETURNS SETOF uuid
LANGUAGE plpgsql SET plan_cache_mode = 'force_generic_plan' AS $$
BEGIN
    RETURN QUERY
        INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function)
        SELECT wanted.key, claim.day, wanted.body_hash, claim.function
        FROM unnest(claim.keys, claim.hashes) AS wanted (key, body_hash)
        WHERE (SELECT true FROM nightshift.inbox AS twin
               WHERE twin.key = wanted.key AND twin.enqueued_day = claim.day - 1) IS NULL
          AND (SELECT true FROM nightshift.inbox AS twin
               WHERE twin.key = wanted.key AND twin.enqueued_day = claim.day + 1) IS NULL
        ORDER BY wanted.key
        ON CONFLICT DO NOTHING
        RETURNING inbox.key;
END $$;
