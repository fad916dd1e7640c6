BEGIN
    PERFORM nextval('leases_run_out');
    RETURN NULL;
END;
