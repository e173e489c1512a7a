-- Drops at most `most` partitions of the inbox whose day is before `before`, the oldest first, and says
-- how many were dropped and how many are left to drop. Dropping needs a lock for which every claim under
-- way must end and behind which new claims queue up, so it is not waited for longer than they hardly
-- notice; what could not be dropped is left for the next time.
CREATE FUNCTION nightshift.drop_inbox_partitions(before date, most integer, OUT dropped integer, OUT remaining integer)
    LANGUAGE plpgsql SET search_path = pg_catalog SET lock_timeout = '250ms' AS $$
DECLARE
    old text[];
BEGIN
    SELECT coalesce(array_agg(child.relname ORDER BY child.relname), '{}') INTO old
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'nightshift.inbox'::regclass
      AND child.relname ~ '^inbox_[0-9]{8}$'
      AND to_date(substr(child.relname, 7), 'YYYYMMDD') < before;
    dropped := 0;
    remaining := cardinality(old);
    WHILE remaining > 0 AND dropped < most LOOP
        BEGIN
            EXECUTE format('DROP TABLE nightshift.%I', old[dropped + 1]);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            RETURN;
        END;
        dropped := dropped + 1;
        remaining := remaining - 1;
    END LOOP;
END
$$;
