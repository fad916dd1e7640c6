BEGIN
    IF EXISTS (SELECT 1 FROM compliance_jobs r WHERE r.id = OLD.job_id) THEN
        RAISE EXCEPTION 'rejected_reports is insert-only: DELETE refused'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END;
