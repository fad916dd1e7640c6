DO $do$
DECLARE
    counter text;
BEGIN
    FOR counter IN
        SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND sequencename ~ '^runs_[a-z_]+$'
    LOOP
        EXECUTE 'DROP SEQUENCE ' || quote_ident(counter);
    END LOOP;
END
$do$
