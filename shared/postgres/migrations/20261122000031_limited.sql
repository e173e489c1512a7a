-- More reasons to wait. `limited`: for the slot of a rate limit that is its own; `closed`: for a limit
-- that gives out no slots now.
ALTER TABLE nightshift.open_message
    DROP CONSTRAINT open_message_reason_check,
    ADD CONSTRAINT open_message_reason_check CHECK (reason IN
        ('retry', 'snooze', 'continue', 'parked', 'turn', 'calling', 'unknown', 'redrive', 'paused',
         'limited', 'closed'));
