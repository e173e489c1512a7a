-- Whether a copy of a message still waits here, also when many do.
CREATE INDEX outbox_by_wakes ON nightshift.outbox (wakes) WHERE wakes IS NOT NULL;
