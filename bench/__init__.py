"""Benchmarks: one file a figure, each beside a peer or a bare floor measured in the same run."""
