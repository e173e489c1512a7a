SELECT id, kind, request, due_at, state, why, ticks, written_at, ended_at
FROM nightshift.schedule_tick
WHERE function = $1
  AND (due_at, id) < (coalesce($2, 'infinity'::timestamptz), coalesce($3, ''))
ORDER BY due_at DESC, id DESC
LIMIT $4
