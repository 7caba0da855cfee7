"""The Parquet store and its manifest."""
