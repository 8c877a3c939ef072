"""A throw-away PostgreSQL for tests, and what breaks the network before it."""
