"""Finds out what this machine has to offer. Detected, not proven: a claim until it is measured."""
