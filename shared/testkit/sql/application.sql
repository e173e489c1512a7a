-- What the served application owns and our functions read: the narrowest schema that their
-- statements need. Two users exist.
CREATE SCHEMA app;
CREATE TABLE app.users (
    id           uuid        PRIMARY KEY,
    display_name text        NOT NULL,
    email        text,
    created_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO app.users (id, display_name) VALUES
    ('00000000-0000-4000-8000-000000000001', 'Sample User 001'),
    ('00000000-0000-4000-8000-000000000002', 'Sample User 002');
