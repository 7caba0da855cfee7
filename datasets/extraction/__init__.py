"""From recordings to a store, shard by shard."""
