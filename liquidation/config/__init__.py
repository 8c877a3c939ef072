"""Settings, and the files that are read again when they change."""
