"""The command `assay`: one file a noun, loaded only when it is asked for."""

from assay_node.cli.program import main

__all__ = ["main"]
