-- The last statement of its transaction: the head's lock is held until the commit.
WITH head AS (SELECT seq, hash FROM nightshift.audit_head FOR UPDATE),
entry AS (
    SELECT head.seq + 1 AS seq, date_trunc('milliseconds', clock_timestamp()) AS at, head.hash AS previous
    FROM head),
written AS (
    INSERT INTO nightshift.audit (seq, at, actor, action, target, details, hash)
    SELECT seq, at, $1, $2, $3, $4::text::jsonb,
        nightshift.audit_hash(previous, seq, at, $1, $2, $3, $4::text::jsonb)
    FROM entry
    RETURNING seq, hash)
UPDATE nightshift.audit_head AS head
SET seq = written.seq, hash = written.hash
FROM written
RETURNING head.seq
