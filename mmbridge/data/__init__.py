"""Data: the order of samples, and how a record becomes a row of a batch."""
