"""Environments: what jobs find as their root file system, named by the CID of a manifest."""
