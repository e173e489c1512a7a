-- Messages that no further try would help, with all that is needed to understand, mend and resend
-- them. Nothing here is converted on the way in: the body is kept as it came, and the properties as
-- the text they arrived in (`json`, since `jsonb` refuses some texts that are valid JSON).
CREATE TABLE nightshift.dead_letter (
    key             uuid        PRIMARY KEY,
    function        text        NOT NULL,
    reason          text        NOT NULL, -- a short, stable word for grouping and alerting
    description     text        NOT NULL, -- a sentence for a person
    message_id      text,
    session_id      text,
    sequence_number bigint      NOT NULL,
    delivery_count  integer     NOT NULL,
    enqueued_at     timestamptz NOT NULL,
    properties      json        NOT NULL,
    body            bytea       NOT NULL,
    body_hash       uuid        NOT NULL,
    dead_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX dead_letter_by_function ON nightshift.dead_letter (function, dead_at);
