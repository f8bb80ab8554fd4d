"""libp2p's WebSocket transport, which nobody uses here, imports a deprecated module."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"websockets\.legacy is deprecated")
    import libp2p  # noqa: F401
