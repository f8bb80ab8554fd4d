"""The definitions, one module a family of ops; `table.OPS` and `table.FUNCTIONS` hold them."""

import importlib
import pkgutil


def load() -> None:
    """Import every family, which registers its definitions."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
