"""Durable state behind one protocol: what is under liquidation, and what is in progress."""
