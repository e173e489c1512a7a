SELECT key, function, session_id
FROM nightshift.open_message AS open
WHERE reason = 'redrive' AND rescues < 0 AND was IS NOT NULL
  AND ($1::text IS NULL OR function = $1)
ORDER BY rescue_at DESC
LIMIT $2
