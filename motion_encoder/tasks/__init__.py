"""Tasks and recipes: what can be learnt, and complete configurations for it."""
