DO $do$
DECLARE
    counter text;
BEGIN
    FOR counter IN
        SELECT concat_ws('_', 'runs', t.name, v.name)
        FROM unnest(ARRAY['owner_test', 'observer_test', 'monitor', 'heartbeat', 'manual', 'webhook']) AS t(name),
            unnest(ARRAY['passing', 'partial', 'failing', 'inconclusive']) AS v(name)
    LOOP
        EXECUTE 'CREATE SEQUENCE ' || quote_ident(counter);
        EXECUTE 'REVOKE ALL ON SEQUENCE ' || quote_ident(counter) || ' FROM PUBLIC, assay_app, assay_staff';
    END LOOP;
END
$do$
