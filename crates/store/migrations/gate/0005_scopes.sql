-- What a yes is for: the one call, calls of its run, or calls of its agent for its user. `pattern` is the path that a wider yes is
-- bound to, null where there can be none; `terms` says under which tools, rules and agents it was asked.
ALTER TABLE approvals ADD COLUMN scope TEXT NOT NULL DEFAULT 'once' CHECK (scope IN ('once', 'run', 'agent_user_ttl'));
ALTER TABLE approvals ADD COLUMN pattern TEXT;
ALTER TABLE approvals ADD COLUMN terms TEXT NOT NULL DEFAULT '';
-- Until when a wider yes holds: earlier, once it was taken back or the terms have changed.
ALTER TABLE approvals ADD COLUMN granted_until_ms BIGINT;
CREATE INDEX approvals_granted ON approvals (agent, granted_until_ms) WHERE granted_until_ms IS NOT NULL;
