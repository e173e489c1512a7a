-- What users see in their in-app inbox.
CREATE TABLE nightshift.notification (
    id          uuid        PRIMARY KEY, -- the key of the message that asked for it
    user_id     uuid        NOT NULL,    -- a user of the application; its table is not ours to refer to
    kind        text        NOT NULL,
    title       text        NOT NULL,
    body        text        NOT NULL,
    enqueued_at timestamptz NOT NULL,    -- when the broker accepted the message
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    read_at     timestamptz
);

CREATE INDEX notification_by_user ON nightshift.notification (user_id, created_at DESC);
