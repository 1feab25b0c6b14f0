-- posternd's tables. Times are milliseconds since 1970 (UTC); JSON is kept as text. Written so that PostgreSQL can have a
-- sibling of each file: no rowid, no type that only SQLite has.

CREATE TABLE runs (
    run             TEXT   NOT NULL PRIMARY KEY,
    agent           TEXT   NOT NULL,
    end_user        TEXT,
    request_id      TEXT   NOT NULL,
    message         TEXT   NOT NULL,
    idempotency_key TEXT,
    status          TEXT   NOT NULL
        CHECK (status IN ('RUNNING', 'PAUSED_APPROVAL', 'PAUSED_CONSENT', 'COMPLETED', 'FAILED')),
    outcome         TEXT,
    created_ms      BIGINT NOT NULL,
    updated_ms      BIGINT NOT NULL
);

-- A key means one run of one agent for one end user; somebody else's equal key is another key.
CREATE UNIQUE INDEX runs_by_idempotency_key ON runs (agent, COALESCE(end_user, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_by_age ON runs (created_ms DESC, run DESC);
CREATE INDEX runs_by_status ON runs (status, created_ms DESC);

CREATE TABLE events (
    run    TEXT   NOT NULL REFERENCES runs (run),
    seq    BIGINT NOT NULL CHECK (seq >= 1),
    kind   TEXT   NOT NULL,
    actor  TEXT   NOT NULL,
    data   TEXT   NOT NULL,
    at_ms  BIGINT NOT NULL,
    PRIMARY KEY (run, seq)
);

-- What a paused run needs to go on; filled in when approvals come.
CREATE TABLE checkpoints (
    run        TEXT   NOT NULL REFERENCES runs (run),
    action_id  TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    claimed_ms BIGINT,
    PRIMARY KEY (run, action_id)
);

CREATE TABLE agents (
    name            TEXT   NOT NULL PRIMARY KEY,
    version         TEXT   NOT NULL,
    source          TEXT   NOT NULL,
    installed_at_ms BIGINT NOT NULL
);
