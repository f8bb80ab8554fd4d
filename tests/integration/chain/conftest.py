"""One Anvil with the contracts for all tests here."""

from tests.fixtures.chain import anvil, chain, deployment

__all__ = ["anvil", "chain", "deployment"]
