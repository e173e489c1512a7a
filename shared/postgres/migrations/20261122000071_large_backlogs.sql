-- Counts the letters of each group: so small, because equal keys are stored once, that it is read whole.
CREATE INDEX dead_letter_by_group ON nightshift.dead_letter (fingerprint);

-- Whether a copy of a message still waits here, also when many do.
CREATE INDEX outbox_by_wakes ON nightshift.outbox (wakes) WHERE wakes IS NOT NULL;
