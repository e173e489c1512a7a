-- The sample application's scores, and three boards over them, as docs/LEADERBOARDS.md tells an application to
-- declare them. Applied after the migrations. Running this again changes nothing that is there: a board
-- that was declared in another way stays so, and one that was switched off (enabled = false) stays off.
CREATE TABLE IF NOT EXISTS app.score_event (
    event_id    uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id     uuid        NOT NULL,
    board       text        NOT NULL, -- points, likes, races
    score       bigint,               -- milliseconds in races; none where an event only takes another back
    occurred_at timestamptz NOT NULL DEFAULT now(),
    country     text,
    voids       uuid,                 -- the event that it takes back
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX IF NOT EXISTS score_event_by_xid ON app.score_event (xid);
CREATE INDEX IF NOT EXISTS score_event_by_user ON app.score_event (user_id);

INSERT INTO nightshift.leaderboard_source (name, relation) VALUES ('scores', 'app.score_event')
ON CONFLICT (name) DO NOTHING;

-- Points of a day, a week, a month and altogether, of everybody and country by country.
INSERT INTO nightshift.leaderboard (name, source, selector, aggregation, groups)
VALUES ('global', 'scores', 'points', 'sum', '{country}')
ON CONFLICT (name) DO NOTHING;

-- Whose creatures are liked most often.
INSERT INTO nightshift.leaderboard (name, source, selector, aggregation, windows)
VALUES ('likes', 'scores', 'likes', 'count', '{weekly,all-time}')
ON CONFLICT (name) DO NOTHING;

-- The best time of a creature race; the days are those of the zone.
INSERT INTO nightshift.leaderboard (name, source, selector, aggregation, direction, zone, windows)
VALUES ('races', 'scores', 'races', 'best', 'ascending', 'Europe/Berlin', '{daily,all-time}')
ON CONFLICT (name) DO NOTHING;
