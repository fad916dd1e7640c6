DECLARE
    month_start timestamptz;
    partition text;
    made integer := 0;
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'months_ahead must be 0 to 24, not %', months_ahead;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('step_evidence partitions'));
    FOR ahead IN 0..months_ahead LOOP
        month_start := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        month_start := (month_start AT TIME ZONE 'UTC' + make_interval(months => ahead)) AT TIME ZONE 'UTC';
        partition := to_char(month_start AT TIME ZONE 'UTC', '"step_evidence_y"YYYY"m"MM');
        IF to_regclass('public.' || partition) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF step_evidence FOR VALUES FROM (%L) TO (%L)',
                partition, month_start,
                (month_start AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC'
            );
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', partition);
            EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', partition);
            EXECUTE format('REVOKE ALL ON %I FROM assay_app, assay_staff', partition);
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END;
