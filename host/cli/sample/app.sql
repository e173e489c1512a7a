-- The sample application's own table, as an application would have it, with made-up users. Their
-- ids are the same everywhere, so that examples can name one. Running this again changes nothing.
CREATE SCHEMA IF NOT EXISTS app;

CREATE TABLE IF NOT EXISTS app.users (
    id           uuid        PRIMARY KEY,
    display_name text        NOT NULL,
    email        text,       -- not everybody gave one
    created_at   timestamptz NOT NULL
);

INSERT INTO app.users (id, display_name, email, created_at)
SELECT
    ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
    'Sample User ' || lpad(n::text, 3, '0'),
    CASE WHEN n % 10 <> 0 THEN 'sample.user.' || lpad(n::text, 3, '0') || '@example.com' END,
    timestamptz '2026-01-01 08:00:00+00' + n * interval '7 hours 13 minutes'
FROM generate_series(1, 200) AS n
ON CONFLICT (id) DO NOTHING;
