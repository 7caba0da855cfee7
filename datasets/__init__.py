"""Data: readers, checks, the Parquet store, the sampler and the node-local cache.

A well-known library has the same import name. This package is imported from the checkout and must take precedence
there, so it has to stay a regular package: a namespace package would not.
"""
