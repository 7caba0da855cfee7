"""One reader per public format."""
