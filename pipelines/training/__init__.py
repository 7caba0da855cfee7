"""Training runs: configuration, loop, checkpoints, scoring and tracking."""
