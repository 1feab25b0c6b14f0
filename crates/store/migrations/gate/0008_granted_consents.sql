-- What end users have consented to, for as long as a token of it is kept: the origin is that of the token.
CREATE TABLE granted_consents (
    origin BLOB PRIMARY KEY,
    id TEXT NOT NULL,
    agent TEXT NOT NULL,
    end_user TEXT NOT NULL,
    tool TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    -- None where the token is renewed.
    expires_ms BIGINT
);
CREATE INDEX granted_consents_by_id ON granted_consents (id);
