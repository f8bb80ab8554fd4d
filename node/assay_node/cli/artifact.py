"""`assay artifact add | get | ls`: content-addressed files, without a job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

if TYPE_CHECKING:
    from assay_node.settings import Settings

app = typer.Typer(help="Add, fetch and list files by CID.", no_args_is_help=True)

CidArgument = Annotated[str, typer.Argument(help="CID of a file or directory (CIDv1).")]
FromOption = Annotated[
    list[str] | None,
    typer.Option("--from", help="Multiaddr of a peer to fetch it from; may be repeated."),
]


@app.command("add")
def add(
    path: Annotated[Path, typer.Argument(help="A file or directory.")], as_json: JsonOption = False
) -> None:
    """Add a file or directory to your artifact store, keep it, and print its CID.

    The CID is the one `ipfs add --cid-version=1 --raw-leaves` gives.
    """
    output.run(_add(output.settings(), path, as_json=as_json))


@app.command("get")
def get(
    cid: CidArgument,
    destination: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="New path; by default the CID.", show_default=False),
    ] = None,
    sources: FromOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an artifact to a new path, fetching and verifying what is missing."""
    output.run(_get(output.settings(), cid, destination, sources or [], as_json=as_json))


@app.command("ls")
def ls(
    cid: Annotated[
        str | None,
        typer.Argument(help="CID of a directory; without it, what is kept.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List a directory by CID, or everything that is kept here."""
    output.run(_ls(output.settings(), cid, as_json=as_json))


async def _add(settings: "Settings", path: Path, *, as_json: bool) -> None:
    from assay_node.app import open_store
    from assay_node.ports import ArtifactLimits

    limits = ArtifactLimits(bytes_max=settings.artifacts.quota_bytes, files_max=1_000_000)
    async with open_store(settings, settings.requester.home, None) as artifacts:
        with output.spinner(f"adding {path}"):
            cid = await artifacts.add(path, limits=limits)
            await artifacts.pin(cid, owner=f"artifact {cid}")
    if as_json:
        output.print_json({"cid": cid})
    else:
        output.results().print(cid, markup=False)


async def _get(
    settings: "Settings", text: str, destination: Path | None, sources: list[str], *, as_json: bool
) -> None:
    from assay_node.app import network_settings, open_store, peer_key
    from assay_node.network import open_network
    from assay_node.ports import ArtifactLimits
    from assay_node.protocol import cid as cids
    from assay_node.services.requesting import fetch_from

    cid = cids.parse(text)
    home = settings.requester.home
    limits = ArtifactLimits(bytes_max=settings.artifacts.quota_bytes, files_max=1_000_000)
    target = destination or Path(cid)
    async with (
        open_network(network_settings(settings), peer_key(home)) as network,
        open_store(settings, home, network) as artifacts,
    ):
        with output.spinner(f"fetching {cid}"):
            await fetch_from(network, artifacts, cid, tuple(sources), limits=limits)
            await artifacts.export(cid, target)
    if as_json:
        output.print_json({"cid": cid, "path": str(target.absolute())})
    else:
        output.results().print(f"{cid} is in {target}", markup=False)


async def _ls(settings: "Settings", text: str | None, *, as_json: bool) -> None:
    from assay_node.app import open_store
    from assay_node.protocol import cid as cids

    async with open_store(settings, settings.requester.home, None) as artifacts:
        if text is None:
            rows = [
                {"cid": pin.cid, "name": pin.owner, "bytes": pin.bytes}
                for pin in await artifacts.pins()
            ]
        else:
            rows = [
                {"cid": entry.cid, "name": entry.name, "bytes": entry.bytes}
                for entry in await artifacts.ls(cids.parse(text))
            ]
    if as_json:
        output.print_json({"entries": rows})
        return
    for row in rows:
        output.results().print(f"{row['cid']}  {row['bytes']:>12}  {row['name']}", markup=False)
