"""A training run: recipes, tasks, loop, checkpoints, tracking."""
