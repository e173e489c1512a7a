-- What operators have done. Each entry's hash covers the one before it, so that nothing can be changed
-- or taken out without it showing. Append-only but for its old end, which leaves an anchor.
CREATE TABLE nightshift.audit (
    seq     bigint      PRIMARY KEY,
    at      timestamptz NOT NULL,
    actor   text        NOT NULL, -- who
    action  text        NOT NULL, -- did what, such as `dead-letters.redrive`
    target  text        NOT NULL, -- to what, such as a function's name
    details jsonb       NOT NULL,
    hash    bytea       NOT NULL  -- SHA-256 of the previous entry's hash and of this entry's text
);

-- One row: the newest entry, whose lock gives out the numbers, and the newest one that was pruned.
CREATE TABLE nightshift.audit_head (
    is_head     boolean PRIMARY KEY DEFAULT true CHECK (is_head),
    seq         bigint  NOT NULL DEFAULT 0,
    hash        bytea   NOT NULL DEFAULT '\x',
    anchor_seq  bigint  NOT NULL DEFAULT 0,
    anchor_hash bytea   NOT NULL DEFAULT '\x'
);

INSERT INTO nightshift.audit_head DEFAULT VALUES;

-- The text that a hash covers. Members of a JSON array have their lengths in their quotes, so that
-- no two entries have one text.
CREATE FUNCTION nightshift.audit_hash(
    previous bytea, seq bigint, at timestamptz, actor text, action text, target text, details jsonb)
RETURNS bytea LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT sha256(previous || convert_to(
        jsonb_build_array(seq, extract(epoch FROM at), actor, action, target, details)::text, 'UTF8'))
$$;

-- Dead letters with one fingerprint have died of the same thing: function, reason and description, the
-- latter without what differs from message to message.
ALTER TABLE nightshift.dead_letter
    ADD COLUMN fingerprint text,
    ADD COLUMN call_id uuid; -- of the last call, if nobody knows how it ended
CREATE INDEX dead_letter_by_fingerprint ON nightshift.dead_letter (fingerprint);
