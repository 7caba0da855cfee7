"""The data side: readers, checks, the Parquet store, the order of samples, the node-local cache.

Its import name is also that of a well-known library. This package runs from the checkout and must win there, so it has
to stay a regular package: a namespace package would lose.
"""
