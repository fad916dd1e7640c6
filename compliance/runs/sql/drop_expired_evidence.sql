DECLARE
    partition text;
    oldest text;
    dropped integer := 0;
BEGIN
    IF (keep_months BETWEEN 3 AND 1200) IS NOT TRUE THEN
        RAISE EXCEPTION 'keep_months must be 3 to 1200, not %', keep_months;
    END IF;
    oldest := to_char((now() AT TIME ZONE 'UTC') - make_interval(months => keep_months),
        '"step_evidence_y"YYYY"m"MM');
    FOR partition IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.step_evidence'::regclass AND c.relname < oldest
    LOOP
        EXECUTE format('DROP TABLE %I', partition);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END;
