SELECT key FROM nightshift.dead_letter WHERE key = $1 FOR UPDATE
