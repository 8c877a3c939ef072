"""The decision log: one JSON line for each decision."""
