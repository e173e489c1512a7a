-- The first entry that does not follow from the one before it, or the head that is not the last one.
WITH head AS (SELECT * FROM nightshift.audit_head),
chain AS (
    SELECT seq, at, actor, action, target, details, hash,
        lag(seq) OVER entries AS previous_seq, lag(hash) OVER entries AS previous_hash
    FROM nightshift.audit
    WINDOW entries AS (ORDER BY seq)),
broken AS (
    SELECT chain.seq
    FROM chain, head
    WHERE chain.seq <> coalesce(previous_seq, head.anchor_seq) + 1
       OR chain.hash <> nightshift.audit_hash(
            coalesce(previous_hash, head.anchor_hash), chain.seq, at, actor, action, target, details)
    UNION ALL
    SELECT head.seq
    FROM head
    WHERE NOT EXISTS (
        SELECT FROM (
            SELECT seq, hash FROM nightshift.audit
            UNION ALL SELECT anchor_seq, anchor_hash FROM head AS anchor
            ORDER BY seq DESC LIMIT 1) AS last
        WHERE last.seq = head.seq AND last.hash = head.hash))
SELECT min(seq) AS broken FROM broken
