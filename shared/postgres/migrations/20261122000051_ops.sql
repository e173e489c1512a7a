-- What operators look for, and in which order.
ALTER TABLE nightshift.run ADD COLUMN cancelled text; -- by whom and why, if an operator has ended it

CREATE INDEX run_by_start ON nightshift.run (started_at, key);
DROP INDEX nightshift.run_by_function;
CREATE INDEX run_by_function ON nightshift.run (function, started_at, key);
CREATE INDEX run_open ON nightshift.run (started_at, key) WHERE ended_at IS NULL;

CREATE INDEX open_message_by_opening ON nightshift.open_message (opened_at, key);
CREATE INDEX dead_letter_by_death ON nightshift.dead_letter (dead_at, key);
DROP INDEX nightshift.dead_letter_by_function;
CREATE INDEX dead_letter_by_function ON nightshift.dead_letter (function, dead_at, key);
DROP INDEX nightshift.dead_letter_by_fingerprint;
CREATE INDEX dead_letter_by_fingerprint ON nightshift.dead_letter (fingerprint, dead_at, key);

CREATE INDEX schedule_tick_by_due ON nightshift.schedule_tick (function, due_at, id);
DROP INDEX nightshift.schedule_tick_by_function;

CREATE INDEX audit_by_request ON nightshift.audit (target, (details ->> 'request'))
    WHERE action = 'function.run';

-- What a letter was that an operator has sent again, until its first copy is: so long it can be undone.
ALTER TABLE nightshift.open_message ADD COLUMN was json;
CREATE INDEX open_message_risen ON nightshift.open_message (rescue_at)
    WHERE reason = 'redrive' AND rescues < 0;
