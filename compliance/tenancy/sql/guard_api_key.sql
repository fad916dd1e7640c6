BEGIN
    IF (OLD.revoked_at IS NOT NULL AND (NEW.revoked_at, NEW.revoked_by)
           IS DISTINCT FROM (OLD.revoked_at, OLD.revoked_by))
       OR (to_jsonb(NEW) - 'revoked_at' - 'revoked_by' - 'last_used_at')
          <> (to_jsonb(OLD) - 'revoked_at' - 'revoked_by' - 'last_used_at') THEN
        RAISE EXCEPTION 'a key is revoked once and never changed' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END;
