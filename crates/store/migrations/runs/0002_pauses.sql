-- An action pauses one run, once.
CREATE UNIQUE INDEX checkpoints_by_action ON checkpoints (action_id);
