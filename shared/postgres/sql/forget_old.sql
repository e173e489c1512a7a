-- What nobody needs any more: runs that ended long ago, marks of messages that no delivery brings back,
-- fan-outs whose parts were lost with their queue.
WITH runs AS (
    DELETE FROM nightshift.run
    WHERE changed_at < clock_timestamp() - make_interval(days => $1)
      -- It changed after its start, by which there is an index.
      AND started_at < now() - make_interval(days => $1)
      AND NOT EXISTS (SELECT FROM nightshift.open_message AS open WHERE open.key = run.key)
      AND NOT EXISTS (SELECT FROM nightshift.dead_letter AS dead WHERE dead.key = run.key)
    RETURNING 1),
marks AS (
    DELETE FROM nightshift.lone_start
    WHERE started_at < clock_timestamp() - make_interval(days => $1) RETURNING 1),
fans AS (
    DELETE FROM nightshift.fan_out
    WHERE opened_at < clock_timestamp() - make_interval(days => $1) RETURNING 1)
SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM marks) + (SELECT count(*) FROM fans) AS "count!"
