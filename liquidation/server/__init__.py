"""The process: its parts, listeners, workers, drain, health."""
