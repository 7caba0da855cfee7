"""One reader per public format (``catalogue`` lists them), and which files of a folder are whose (``finding``)."""
