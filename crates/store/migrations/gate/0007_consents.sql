-- Consents that end users are asked for. Of the way to the provider and back only what tells whose it is: what the gate shows there
-- it makes anew from a key of its own.
CREATE TABLE consents (
    action_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    run TEXT NOT NULL,
    end_user TEXT NOT NULL,
    tool TEXT NOT NULL,
    given BIGINT NOT NULL DEFAULT 0 CHECK (given IN (0, 1)),
    -- The one way that is under way, and a digest of the browser's secret that it was begun in.
    attempt TEXT,
    browser BLOB,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX consents_of_user ON consents (agent, end_user, tool);
