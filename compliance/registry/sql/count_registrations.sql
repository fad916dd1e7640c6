BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE agents SET registrations = registrations + 1 WHERE agent_url = NEW.agent_url;
    ELSE
        UPDATE agents SET registrations = registrations - 1 WHERE agent_url = OLD.agent_url;
    END IF;
    RETURN NULL;
END;
