"""The scheduler's HTTP API: thin, read-only, the same documents that peers get over libp2p."""
