"""What runs inside a T0 sandbox: a WebAssembly module in wasmtime, in a world of our own making.

Imports wasmtime and the standard library alone: the folder is bound into the sandbox by itself.
"""
