"""Tasks (what a model can be trained for), and recipes (complete configurations of a training run)."""
