-- The gate's tables. Times are milliseconds since 1970 (UTC). Nothing here holds a secret, a body or a query.

-- The gate writes many decisions a second and reads them by age: a number of its own is the order.
CREATE TABLE decisions (
    number     INTEGER NOT NULL PRIMARY KEY,
    id         TEXT    NOT NULL,
    at_ms      BIGINT  NOT NULL,
    sandbox    TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    run        TEXT,
    tool       TEXT,
    ruling     TEXT    NOT NULL CHECK (ruling IN ('allowed', 'approval_required', 'denied')),
    rule       TEXT,
    code       TEXT,
    method     TEXT    NOT NULL,
    authority  TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    status     INTEGER,
    credential TEXT
);
CREATE INDEX decisions_by_run ON decisions (run, number DESC) WHERE run IS NOT NULL;

-- A request that waits for a human, bound to one digest of everything that would be sent.
CREATE TABLE approvals (
    action_id   TEXT   NOT NULL PRIMARY KEY,
    run         TEXT   NOT NULL,
    agent       TEXT   NOT NULL,
    end_user    TEXT,
    tool        TEXT   NOT NULL,
    rule        TEXT   NOT NULL,
    digest      TEXT   NOT NULL,
    shown       TEXT   NOT NULL,
    status      TEXT   NOT NULL
        CHECK (status IN ('PENDING', 'APPROVED', 'REJECTED', 'EXPIRED')),
    approver    TEXT,
    reason      TEXT,
    created_ms  BIGINT NOT NULL,
    answered_ms BIGINT,
    expires_ms  BIGINT NOT NULL
);
CREATE INDEX approvals_by_run ON approvals (run, status);

-- What an approval allows from then on. Only the gate writes here, after it verified the approver itself.
CREATE TABLE grants (
    grant_id   TEXT   NOT NULL PRIMARY KEY,
    action_id  TEXT   NOT NULL REFERENCES approvals (action_id),
    scope      TEXT   NOT NULL CHECK (scope IN ('once', 'run', 'agent_user_ttl')),
    agent      TEXT   NOT NULL,
    end_user   TEXT,
    run        TEXT,
    tool       TEXT   NOT NULL,
    digest     TEXT,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    spent_ms   BIGINT
);

-- The journal, budgets and sealed tokens get migrations of their own: 0002_journal, 0003_budgets, 0004_tokens.
