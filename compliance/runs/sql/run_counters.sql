DO $do$
DECLARE
    trigger_name text;
    verdict text;
BEGIN
    FOREACH trigger_name IN ARRAY ARRAY['owner_test', 'observer_test', 'monitor', 'heartbeat', 'manual', 'webhook'] LOOP
        FOREACH verdict IN ARRAY ARRAY['passing', 'partial', 'failing', 'inconclusive'] LOOP
            EXECUTE format('CREATE SEQUENCE runs_%s_%s', trigger_name, verdict);
            EXECUTE format('REVOKE ALL ON SEQUENCE runs_%s_%s FROM PUBLIC, assay_app, assay_staff', trigger_name, verdict);
        END LOOP;
    END LOOP;
END
$do$
