"""Two releases side by side: the same calls, and every difference in answers and log lines."""
