"""The contracts as typed Python, one module for each ABI.

Written by contracts/generate_bindings.py; do not edit.
"""
