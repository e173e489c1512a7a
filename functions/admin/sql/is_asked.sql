-- Whether a run of this name was granted before.
SELECT EXISTS (
    SELECT FROM nightshift.audit
    WHERE action = 'function.run' AND target = $1 AND details ->> 'request' = $2) AS "is_asked!"
