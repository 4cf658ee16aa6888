"""From a source to a snapshot: read, join, validate, account for every row, and split."""
