-- Counts the letters of each group: so small, because equal keys are stored once, that it is read whole.
CREATE INDEX dead_letter_by_group ON nightshift.dead_letter (fingerprint, function, reason);
