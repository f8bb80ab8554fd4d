"""Multiaddrs: which can be dialled, listened on and told to others. TCP only."""

import trio
from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError
from multiaddr.utils import get_thin_waist_addresses

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import PeerId

_OTHER_TRANSPORTS = {"ws", "wss", "p2p-circuit"}


def parse(text: str) -> Multiaddr:
    """Return a multiaddr with a TCP port.

    Raises:
        LocalError: it is malformed or has no TCP port.
    """
    try:
        address = Multiaddr(text)
    except (MultiaddrError, ValueError) as error:
        raise LocalError(f"{text[:200]!r} is not a multiaddr like /ip4/1.2.3.4/tcp/4001") from error
    names = _names(address)
    if "tcp" not in names or names & _OTHER_TRANSPORTS:
        raise LocalError(f"{text[:200]!r} is not a TCP address; nothing else is spoken here")
    return address


def parse_dialable(text: str) -> tuple[Multiaddr, PeerId]:
    """Return a multiaddr and the peer it names.

    Raises:
        LocalError: it is malformed, not TCP, or names no peer.
    """
    address = parse(text)
    try:
        return address, PeerId(address.value_for_protocol("p2p") or "")
    except MultiaddrError:
        raise LocalError(f"{text[:200]!r} does not end in /p2p/<peer ID>") from None


def parse_listenable(text: str) -> Multiaddr:
    """Return a multiaddr to listen on.

    Raises:
        LocalError: it is malformed or not an IP address with a TCP port.
    """
    address = parse(text)
    if not _names(address) <= {"ip4", "ip6", "tcp"}:
        raise LocalError(f"{text[:200]!r} is not an IP address and a TCP port to listen on")
    return address


def without_wildcards(addresses: list[Multiaddr]) -> list[Multiaddr]:
    """Return the addresses of all interfaces for 0.0.0.0 and ::, which mean nothing to a peer."""
    return [address for given in addresses for address in get_thin_waist_addresses(given)]


async def refuse_shared_port(address: Multiaddr) -> None:
    """Refuse a port on which somebody listens already.

    libp2p sets SO_REUSEPORT, so a second process of the same user would share the port and get
    every other connection.

    Raises:
        LocalError: the port is taken, or the address is not of this machine.
    """
    version = "ip6" if "ip6" in _names(address) else "ip4"
    host = address.value_for_protocol(version)
    port = int(address.value_for_protocol("tcp") or 0)
    family = trio.socket.AF_INET6 if version == "ip6" else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_STREAM) as probe:
        # Without this a port would stay refused for a minute after the last connection to it.
        probe.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        try:
            await probe.bind((host, port))
        except OSError as error:
            raise LocalError(f"cannot listen on {address}: {error.strerror}") from error


def _names(address: Multiaddr) -> set[str]:
    return {protocol.name for protocol in address.protocols()}
