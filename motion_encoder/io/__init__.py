"""Models in files: ours, published ones, registries, export."""
