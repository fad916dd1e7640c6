SELECT k.id, k.organization_id, k.name, k.scopes, k.runner_id, k.expires_at, k.revoked_at, k.last_used_at
FROM api_keys k WHERE k.secret_hash = hash
