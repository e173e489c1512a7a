CREATE SCHEMA chaos;

-- Effects. Nothing keeps one from being written twice: that is what is looked for.
CREATE TABLE chaos.effect (
    id      text    NOT NULL,
    attempt integer NOT NULL -- the try that wrote it
);

-- The other system: each time that it has acted.
CREATE TABLE chaos.acted (
    id text NOT NULL
);

-- What it has answered, as the function has written it down.
CREATE TABLE chaos.answer (
    id       text    NOT NULL,
    is_asked boolean NOT NULL -- after a call whose end nobody knew
);

-- The steps of runs, in the order in which they were written.
CREATE TABLE chaos.step (
    n     bigint  GENERATED ALWAYS AS IDENTITY,
    id    text    NOT NULL,
    step  integer NOT NULL,
    epoch integer NOT NULL -- of the run
);

-- Messages in sessions, in the order in which they were done.
CREATE TABLE chaos.in_session (
    n  bigint GENERATED ALWAYS AS IDENTITY,
    id text   NOT NULL
);

-- Ticks that were worked on.
CREATE TABLE chaos.ticked (
    due_at timestamptz NOT NULL
);

-- Every wait of `chaos-work` that was committed: the platform itself keeps only the last one of each message.
CREATE TABLE chaos.wait (
    key        uuid        NOT NULL,
    attempt    integer     NOT NULL, -- failed tries by then
    reason     text        NOT NULL,
    due_at     timestamptz NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION chaos.note_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.function = 'chaos-work' AND (TG_OP = 'INSERT' OR NEW.gen <> OLD.gen) THEN
        INSERT INTO chaos.wait (key, attempt, reason, due_at)
        VALUES (NEW.key, NEW.attempt, NEW.reason, NEW.due_at);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER note_wait AFTER INSERT OR UPDATE ON nightshift.open_message
    FOR EACH ROW EXECUTE FUNCTION chaos.note_wait();
