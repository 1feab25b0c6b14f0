-- What a secret that rotates has become since somebody wrote it down: sealed with a key of the gate's, under a name that only that
-- key can make from the secret and its client.
CREATE TABLE tokens (
    origin BLOB PRIMARY KEY,
    sealed BLOB NOT NULL,
    at_ms BIGINT NOT NULL
);
