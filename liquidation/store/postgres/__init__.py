"""The shared store: one PostgreSQL database."""
