"""The arithmetic of the specification, written with torch ops that are exact on every device.

Everything here uses only single IEEE-754 operations, one op a kernel so that no compiler contracts
them, integer arithmetic, comparisons and copies. It is the reference that faster kernels must equal
bit for bit, and what runs where they are missing.
"""
