"""A model of the claim protocol, searched exhaustively, and the stores held against it."""
