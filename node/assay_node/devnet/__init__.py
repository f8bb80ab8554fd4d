"""A whole market on one machine, for development and demonstrations."""
