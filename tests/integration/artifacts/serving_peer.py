"""A peer in a process of its own: adds what it is told to and serves it until its input ends."""

import asyncio
import sys
from pathlib import Path

from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.ports import ArtifactLimits


async def main(root: Path, path: Path) -> None:
    settings = ArtifactSettings(root=root, quota_bytes=1 << 32)
    async with (
        open_network(NetworkSettings(), new_peer_key()) as network,
        open_artifacts(settings, network) as artifacts,
    ):
        cid = await artifacts.add(path, limits=ArtifactLimits(bytes_max=1 << 32))
        sys.stdout.write(f"{network.addresses[0]} {cid}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
