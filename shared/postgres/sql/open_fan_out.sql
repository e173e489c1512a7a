INSERT INTO nightshift.fan_out (id, open, queue, message_id, session_id, properties, body)
VALUES ($1, $2, $3, $4, $5, $6::text::json, $7)
