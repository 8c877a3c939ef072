"""Coverage-guided fuzzing: what strangers can hand to the service, made up byte by byte."""
