-- What operators say of limits, which counts instead of what the code says until it is taken back.

-- Rate limits, by the name that functions give them.
CREATE TABLE nightshift.rate_override (
    name       text        PRIMARY KEY,
    count      bigint      NOT NULL CHECK (count BETWEEN 1 AND 4294967295),
    per_micros bigint      NOT NULL, -- so many slots in this time
    burst      bigint      NOT NULL CHECK (burst BETWEEN 1 AND 4294967295),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text        NOT NULL,
    why        text,
    -- Slots are a microsecond apart at least, and a burst of them is not longer than thirty days.
    CHECK (per_micros >= count AND ceil(per_micros::numeric / greatest(count, 1)) * burst <= 2592000000000)
);

-- How many messages of one concurrency key may be at work at a time, by function.
CREATE TABLE nightshift.places_override (
    function   text        PRIMARY KEY,
    places     bigint      NOT NULL CHECK (places BETWEEN 1 AND 4294967295),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text        NOT NULL,
    why        text
);
