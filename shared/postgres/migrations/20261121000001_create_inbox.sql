-- Which messages are done: the memory that makes a redelivery harmless. Append-only. Partitioned by
-- the day on which the broker accepted the message, which no redelivery changes, so that retention
-- drops whole partitions.
CREATE TABLE nightshift.inbox (
    key          uuid        NOT NULL, -- 16-byte hash of function and message identity
    enqueued_day date        NOT NULL, -- UTC
    body_hash    uuid        NOT NULL, -- tells a redelivery from another message with the same id
    function     text        NOT NULL,
    skipped      text,                 -- why there was nothing to do; null: completed
    finished_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (key, enqueued_day)
) PARTITION BY RANGE (enqueued_day);

-- Partitions appear on demand. Two handlers may ask for the same one at once: the lock lets the
-- second see the first one's.
CREATE FUNCTION nightshift.ensure_inbox_partition(day date) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nightshift.inbox partitions', 0));
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS nightshift.%I PARTITION OF nightshift.inbox FOR VALUES FROM (%L) TO (%L)',
        'inbox_' || to_char(day, 'YYYYMMDD'), day, day + 1);
END
$$;
