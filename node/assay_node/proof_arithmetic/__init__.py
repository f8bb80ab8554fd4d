"""The arithmetic of the proof of hardware, as prover and verifier both do it.

Specified to the bit in docs/protocol/hardware-proof.md and pinned by test vectors. It needs NumPy,
so that a daemon imports it when a proof is under way, not at its start.
"""
