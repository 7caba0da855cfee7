"""The network: DSTformer and its heads."""
