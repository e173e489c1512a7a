-- Idempotent: what is done stays done, and what was cancelled stays cancelled. A failed one that is sent
-- again by hand may still end well ($4). The caller has locked the schedule's row.
WITH ended AS (
    UPDATE nightshift.schedule_tick
    SET state = $2, why = $3, ended_at = nightshift.now(), resend_at = NULL
    WHERE id = $1 AND (state = 'enqueued' OR state = 'failed' AND $4)
    RETURNING function),
well AS (
    UPDATE nightshift.schedule
    SET ended_well_at = greatest(ended_well_at, nightshift.now())
    FROM ended
    WHERE schedule.function = ended.function AND $4)
SELECT count(*) AS "ended!" FROM ended
