"""A second reading of the contract, and what holds the service against it."""
