CREATE SCHEMA bench;

-- One row for each message, whatever happens.
CREATE TABLE bench.effect (
    id   uuid PRIMARY KEY, -- the key of its message
    load text NOT NULL     -- the measurement that it belongs to
);
