"""The data side: readers, checks, the Parquet store, the order of samples, the node-local cache.

Shares its import name with a well-known library on purpose (design: it runs from the checkout and must win there), and
so has to stay a regular package: a namespace package would lose.
"""
