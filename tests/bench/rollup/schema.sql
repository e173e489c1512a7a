CREATE SCHEMA bench;

-- New events of 200,000 users, so many a transaction, in the order of their time.
CREATE PROCEDURE bench.fill(relation regclass, events integer, a_commit integer, first timestamptz, span interval)
LANGUAGE plpgsql AS $$
BEGIN
    FOR batch IN 0 .. events / a_commit - 1 LOOP
        EXECUTE format(
            'INSERT INTO %s (user_id, score, occurred_at)
            SELECT md5(floor(random() * 200000)::integer::text)::uuid, floor(random() * 1000)::bigint,
                $1 + $2 * (($3::float8 + n) / $4)
            FROM generate_series(0, $5 - 1) AS n', relation)
        USING first, span, batch::bigint * a_commit, events, a_commit;
        COMMIT;
    END LOOP;
END
$$;

-- What the plain statement makes of them.
CREATE TABLE bench.plain (
    kind        text        NOT NULL,
    starts_at   timestamptz NOT NULL,
    user_id     uuid        NOT NULL,
    score       bigint      NOT NULL,
    achieved_at timestamptz NOT NULL,
    events      bigint      NOT NULL
);
