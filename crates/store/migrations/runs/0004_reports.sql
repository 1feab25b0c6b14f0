-- What agents say that they need to go on, in their own words. Nothing here goes on by it.
CREATE TABLE reported_checkpoints (
    run        TEXT   NOT NULL REFERENCES runs (run),
    action_id  TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    at_ms      BIGINT NOT NULL,
    PRIMARY KEY (run, action_id)
);
