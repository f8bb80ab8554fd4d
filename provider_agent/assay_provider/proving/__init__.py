"""Proving this machine's hardware: products computed, committed to and opened."""
