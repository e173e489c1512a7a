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

-- Makes sure that the partitions of a day and of the next one exist, so that midnight waits for
-- nothing. Attaching takes a lock that neither readers (a dump runs for hours) nor claims conflict
-- with, which creating a partition in place would. Two handlers may ask for the same one at once: the
-- advisory lock lets the second see the first one's.
CREATE FUNCTION nightshift.ensure_inbox_partitions(first_day date) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '2s' AS $$
DECLARE
    day date;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nightshift.inbox partitions', 0));
    FOREACH day IN ARRAY ARRAY[first_day, first_day + 1] LOOP
        name := 'inbox_' || to_char(day, 'YYYYMMDD');
        IF to_regclass(format('nightshift.%I', name)) IS NULL THEN
            EXECUTE format('CREATE TABLE nightshift.%I (LIKE nightshift.inbox INCLUDING ALL)', name);
            EXECUTE format(
                'ALTER TABLE nightshift.inbox ATTACH PARTITION nightshift.%I FOR VALUES FROM (%L) TO (%L)',
                name, day, day + 1);
        END IF;
    END LOOP;
END
$$;
