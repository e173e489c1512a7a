INSERT INTO bench.effect (id, load)
SELECT wanted.id, wanted.load
FROM unnest($1::uuid[], $2::text[]) AS wanted (id, load)
ON CONFLICT (id) DO NOTHING
