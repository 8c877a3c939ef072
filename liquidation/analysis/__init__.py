"""Reads the decision log: tail, stats, explain, replay, report."""
