"""From a store to training batches: node-local cache, sample order, gathering."""
