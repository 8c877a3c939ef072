"""What a caller with ill intent does, and what others notice of it."""
