-- Leaves the last pruned entry's number and hash, so that the rest still verifies.
WITH pruned AS (
    DELETE FROM nightshift.audit
    WHERE seq <= (SELECT max(seq) FROM nightshift.audit WHERE at < clock_timestamp() - make_interval(days => $1))
    RETURNING seq, hash),
last AS (SELECT seq, hash FROM pruned ORDER BY seq DESC LIMIT 1),
anchor AS (
    UPDATE nightshift.audit_head AS head
    SET anchor_seq = last.seq, anchor_hash = last.hash
    FROM last)
SELECT count(*) AS "count!" FROM pruned
