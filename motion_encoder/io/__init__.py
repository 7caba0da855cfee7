"""Reading and writing models: our own format, published checkpoints, registries, and export."""
