"""The report of a store: figures, pictures, HTML page."""
