"""Tests of one layer."""
