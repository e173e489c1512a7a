-- When a tick of the schedule last ended well. Ticks are forgotten after 90 days; this is not, so that also
-- a schedule that runs once a year is known to have run.
ALTER TABLE nightshift.schedule ADD COLUMN ended_well_at timestamptz;

UPDATE nightshift.schedule
SET ended_well_at = (
    SELECT max(ended_at) FROM nightshift.schedule_tick AS tick
    WHERE tick.function = schedule.function AND tick.state = 'done');
