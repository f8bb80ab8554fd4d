"""A corpus of cheats against the proof of hardware, and how often each is found out."""
