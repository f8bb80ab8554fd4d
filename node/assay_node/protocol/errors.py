"""The error tree. An error says who is at fault and, in its text, what to do about it.

Errors cross process boundaries as `(code, message)`; everything else about them stays local.
"""


class AssayError(Exception):
    """Anything Assay reports on purpose. `str(error)` is one sentence fit for a person."""

    code = "error"


class LocalError(AssayError):
    """The caller asked for something that cannot be done; nothing was sent."""

    code = "local"


class RemoteError(AssayError):
    """A peer misbehaved, went away or refused."""

    code = "remote"


class ChainError(AssayError):
    """The chain refused what was asked of it."""

    code = "chain"


class ChainUnavailable(ChainError):
    """The chain's RPC endpoint does not answer; the same call may succeed later."""

    code = "chain_unavailable"


class MalformedMessage(AssayError):
    """Bytes that are not a canonical, complete and valid message of the expected kind."""

    code = "malformed"


class Refused(AssayError):
    """A well-formed request was turned down; the text is the reason."""

    code = "refused"
