-- Who asks: a rule of the gate, about a call, or an agent by itself, in words of its own.
ALTER TABLE approvals ADD COLUMN origin TEXT NOT NULL DEFAULT 'gate' CHECK (origin IN ('gate', 'agent'));
ALTER TABLE approvals ADD COLUMN words TEXT;
