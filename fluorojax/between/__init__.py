"""The scene between its frames: posterior mean and standard deviation at any time of a run."""
