"""The decision log: one JSON object a line, one line a decision."""
