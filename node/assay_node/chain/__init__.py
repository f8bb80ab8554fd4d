"""The contracts as Python: reading, settling, a wallet's own transactions. Start at `client.py`."""
