-- What the code of a run printed, as its last lines; runs that printed nothing have no row.
CREATE TABLE printed (
    run   TEXT NOT NULL PRIMARY KEY REFERENCES runs (run),
    lines TEXT NOT NULL
);
