-- A request whose call does not wait: its run was paused, and the call comes again once somebody has said yes.
ALTER TABLE approvals ADD COLUMN paused BIGINT NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
-- All that would be sent, as an approver is shown it; gone with the answer.
ALTER TABLE approvals ADD COLUMN whole TEXT;
-- When the call went out after all, which it does once.
ALTER TABLE approvals ADD COLUMN used_ms BIGINT;
