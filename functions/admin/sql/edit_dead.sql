UPDATE nightshift.dead_letter
SET body = $2, body_hash = $3, properties = coalesce($4::text::json, properties)
WHERE key = $1
