DO $do$
DECLARE
    counter text;
BEGIN
    FOR counter IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND sequencename ~ '^runs_[a-z_]+$' LOOP
        EXECUTE format('DROP SEQUENCE %I', counter);
    END LOOP;
END
$do$
