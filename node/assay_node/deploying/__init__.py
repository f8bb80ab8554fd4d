"""Putting the contracts on a chain, and checking that what is there is what was built."""
