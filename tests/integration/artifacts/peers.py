"""Peers with a store each, whose frames can be watched and falsified."""

from collections.abc import Callable
from dataclasses import dataclass, field

from assay_node.artifacts import EmbeddedArtifacts
from assay_node.artifacts.exchange_frames import PROTOCOL, decode_request
from assay_node.ports import Stream
from assay_node.protocol.ids import Cid, PeerId
from tests.fakes.network import FakeNetwork

ChangeFrame = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A store with its network, and the CIDs that others have asked it for."""

    artifacts: EmbeddedArtifacts
    network: FakeNetwork
    asked: list[Cid] = field(default_factory=list)

    @property
    def peer_id(self) -> PeerId:
        return self.network.peer_id

    def intercept(self, change: ChangeFrame = lambda frame: frame) -> None:
        """Record what is asked, and pass every answer through `change`; None swallows it."""
        serve = self.network._stream_handlers[PROTOCOL]

        async def handler(stream: Stream) -> None:
            await serve(_Intercepted(stream, self.asked, change))

        self.network.serve_streams(PROTOCOL, handler)


class _Intercepted:
    def __init__(self, stream: Stream, asked: list[Cid], change: ChangeFrame) -> None:
        self._stream = stream
        self._asked = asked
        self._change = change

    @property
    def peer_id(self) -> PeerId:
        return self._stream.peer_id

    async def send(self, frame: bytes) -> None:
        changed = self._change(frame)
        if changed is not None:
            await self._stream.send(changed)

    async def receive(self) -> bytes | None:
        frame = await self._stream.receive()
        if frame is not None:
            self._asked.extend(decode_request(frame))
        return frame

    async def close(self) -> None:
        await self._stream.close()
