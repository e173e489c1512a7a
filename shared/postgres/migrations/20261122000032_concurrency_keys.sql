-- Messages of one concurrency key, a hash of function and key, of which so many are at work at a time. A row
-- with a key that is not `queued` holds one of the key's places; a `queued` one waits for a place.
ALTER TABLE nightshift.open_message
    DROP CONSTRAINT open_message_reason_check,
    ADD CONSTRAINT open_message_reason_check CHECK (reason IN
        ('retry', 'snooze', 'continue', 'parked', 'turn', 'calling', 'unknown', 'redrive', 'paused',
         'limited', 'closed', 'queued')),
    ADD COLUMN concurrency_key uuid;

CREATE INDEX open_message_by_concurrency_key
    ON nightshift.open_message (concurrency_key, reason, sequence_number)
    WHERE concurrency_key IS NOT NULL;
