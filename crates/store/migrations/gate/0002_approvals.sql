-- What the first approvals need. The tables were empty until now; grants come back with the scopes that need them.
DROP TABLE grants;
DROP TABLE approvals;

-- A request that waits for a human, bound to one digest of everything that would be sent.
CREATE TABLE approvals (
    action_id   TEXT   NOT NULL PRIMARY KEY,
    agent       TEXT   NOT NULL,
    run         TEXT,
    end_user    TEXT,
    tool        TEXT,
    rule        TEXT   NOT NULL,
    method      TEXT   NOT NULL,
    authority   TEXT   NOT NULL,
    path        TEXT   NOT NULL,
    digest      TEXT   NOT NULL,
    status      TEXT   NOT NULL
        CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'EXPIRED')),
    approver    TEXT,
    reason      TEXT,
    created_ms  BIGINT NOT NULL,
    answered_ms BIGINT,
    expires_ms  BIGINT NOT NULL
);
CREATE INDEX approvals_by_age ON approvals (created_ms DESC);
CREATE INDEX approvals_pending ON approvals (status) WHERE status = 'PENDING';
