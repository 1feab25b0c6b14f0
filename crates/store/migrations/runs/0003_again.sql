-- How often a run was taken up for this action and came back without an end: it failed where it can go on again.
ALTER TABLE checkpoints ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;
