"""Draws stages of calls from a seed."""
