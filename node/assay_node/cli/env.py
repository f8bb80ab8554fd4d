"""`assay env build | list | show | prune | export`: the software that jobs bring along."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

if TYPE_CHECKING:
    from assay_node.settings import Settings
    from assay_provider.environments.building.build import Builder, Built
    from assay_provider.environments.building.kept import Kept

app = typer.Typer(help="The software that jobs bring along, by CID.", no_args_is_help=True)

CidArgument = Annotated[str, typer.Argument(help="CID of an environment.")]

_HOST_PYTHON = (
    "host-python: the provider's own Python, a fallback for development; what no job names runs "
    "in it"
)


@app.command("build")
def build(
    requirements: Annotated[
        Path | None,
        typer.Option(help="Requirements file, as for pip; wheels only.", show_default=False),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(
            help="Python version, such as 3.11; by default the one that runs Assay, or the base's.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            help="Image archive or folder with a root file system that has a Python; by default "
            "this machine's Python, C library and shell.",
            show_default=False,
        ),
    ] = None,
    oci: Annotated[
        Path | None,
        typer.Option(
            help="Image archive: podman save --format oci-archive, or docker save.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Folder with an unpacked root file system.", show_default=False
        ),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compiled",
            help="Compile Python files beforehand: programs start faster, and the CID depends on "
            "the Python that compiled them. Only with --requirements and without --base.",
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(help="A name for people; by default the file's.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an environment, keep it in your artifact store, and print its CID for `--runtime`.

    The same inputs make the same CID. Owners, times, devices and set-user-ID bits are left out.
    """
    from assay_node.protocol.errors import LocalError

    sources = [one for one in (requirements, oci, folder) if one is not None]
    if len(sources) != 1:
        raise LocalError("give one of --requirements FILE, --oci ARCHIVE and --folder FOLDER")
    if requirements is None and (python or base or compiled):
        raise LocalError("--python, --base and --compiled go with --requirements")
    if compiled and base is not None:
        raise LocalError("--compiled is for this machine's Python; leave out --base")
    if not sources[0].exists():
        raise LocalError(f"{sources[0]} does not exist")
    if base is not None and not base.exists():
        raise LocalError(f"{base} does not exist")

    async def make(builder: "Builder") -> "Built":
        if requirements is not None:
            label = name or requirements.stem
            return await builder.from_requirements(
                requirements, name=label, python=python, base=base, compiled=compiled
            )
        if oci is not None:
            return await builder.from_image(oci, name=name)
        assert folder is not None
        return await builder.from_folder(folder, name=name or folder.resolve().name)

    output.run(_build(output.settings(), make, as_json=as_json))


@app.command("list")
def list_(
    cached: Annotated[
        bool, typer.Option("--cached", help="The layers that this machine's provider keeps.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the environments in your artifact store, or the layers that a provider keeps packed."""
    settings = output.settings()
    if cached:
        _list_cached(settings, as_json=as_json)
    else:
        output.run(_list(settings, as_json=as_json))


@app.command("show")
def show(cid: CidArgument, as_json: JsonOption = False) -> None:
    """Show what an environment consists of."""
    output.run(_show(output.settings(), cid, as_json=as_json))


@app.command("prune")
def prune(
    chosen: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CID...", help="Environments; with --cached, layers.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    cached: Annotated[
        bool,
        typer.Option("--cached", help="Packed layers of this machine's provider, but no job's."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let go of environments in your store, or of layers that a provider keeps and no job uses."""
    from assay_node.protocol.errors import LocalError

    if bool(chosen) == everything:
        raise LocalError("name what is to go by CID, or say --all")
    settings = output.settings()
    if cached:
        _prune_cached(settings, chosen, as_json=as_json)
    else:
        output.run(_prune(settings, chosen, as_json=as_json))


@app.command("export")
def export(
    cid: CidArgument,
    target: Annotated[Path, typer.Option("-o", "--output", help="New file.")],
    as_json: JsonOption = False,
) -> None:
    """Write an environment to a file as an OCI archive, which `assay env build --oci` takes."""
    output.run(_export(output.settings(), cid, target, as_json=as_json))


async def _build(settings: "Settings", make: Any, *, as_json: bool) -> None:
    import platform
    import sys

    from assay_node.app import open_store
    from assay_node.protocol.units import size_to_text
    from assay_provider.environments.building.build import Builder

    people = output.people()
    home = settings.requester.home
    async with open_store(settings, home, None) as artifacts:
        with _scratch(home) as scratch, output.spinner("building"):
            builder = Builder(
                artifacts=artifacts,
                scratch=scratch,
                python=sys.executable,
                machine=platform.machine(),
                tell=lambda sentence: people.print(sentence, markup=False),
            )
            built = await make(builder)
    if as_json:
        output.print_json(
            {"cid": built.cid, "left_out": built.left_out, **_document(built.manifest)}
        )
        return
    if built.left_out:
        people.print(f"variables left out: {', '.join(built.left_out)}", markup=False)
    people.print(
        f"{built.manifest.name}: {len(built.manifest.layers)} layer(s), "
        f"{size_to_text(built.manifest.tar_bytes)}; order a job in it with: assay submit "
        "--runtime CID",
        markup=False,
    )
    output.results().print(built.cid, markup=False)


async def _list(settings: "Settings", *, as_json: bool) -> None:
    from assay_node.app import open_store
    from assay_node.protocol.units import size_to_text
    from assay_provider.environments.building.kept import kept_environments

    async with open_store(settings, settings.requester.home, None) as artifacts:
        found = await kept_environments(artifacts)
    if as_json:
        output.print_json(
            {
                "environments": [{"cid": one.cid, **_document(one.manifest)} for one in found],
                "fallback": "host-python",
            }
        )
        return
    for one in found:
        manifest = one.manifest
        python = f"Python {manifest.python}" if manifest.python else "no Python"
        size = size_to_text(manifest.tar_bytes)
        line = f"{one.cid}  {size:>10}  {manifest.architecture}  {python}  {manifest.name}"
        output.results().print(line, markup=False)
    output.people().print(_HOST_PYTHON, markup=False)


async def _show(settings: "Settings", text: str, *, as_json: bool) -> None:
    kept = await _read(settings, text)
    document = {"cid": kept.cid, **_document(kept.manifest)}
    if as_json:
        output.print_json(document)
        return
    from assay_node.protocol.units import size_to_text

    results, manifest = output.results(), kept.manifest
    results.print(f"{manifest.name}, for {manifest.architecture}", markup=False)
    if manifest.python:
        results.print(f"Python {manifest.python}", markup=False)
    for layer in manifest.layers:
        results.print(
            f"  layer {layer.cid}  {layer.files} entries, {size_to_text(layer.tar_bytes)}",
            markup=False,
        )
    for key, value in sorted(manifest.variables.items()):
        results.print(f"  {key}={value}", markup=False)


async def _prune(settings: "Settings", chosen: list[str] | None, *, as_json: bool) -> None:
    from assay_node.app import open_store
    from assay_provider.environments.building.kept import (
        drop,
        kept_environments,
        read_environment,
    )

    async with open_store(settings, settings.requester.home, None) as artifacts:
        if chosen is None:
            gone = await kept_environments(artifacts)
        else:
            gone = tuple([await read_environment(artifacts, text) for text in chosen])
        for one in gone:
            await drop(artifacts, one)
        with output.spinner("making room"):
            await artifacts.collect_garbage()
    _tell_gone([one.cid for one in gone], as_json=as_json)


async def _export(settings: "Settings", text: str, target: Path, *, as_json: bool) -> None:
    from assay_node.app import open_store
    from assay_provider.environments.building import kept as keeping

    home = settings.requester.home
    kept = await _read(settings, text)
    async with open_store(settings, home, None) as artifacts:
        with _scratch(home) as scratch, output.spinner(f"writing {target}"):
            await keeping.export(artifacts, kept, target, scratch)
    if as_json:
        output.print_json({"cid": kept.cid, "path": str(target)})
    else:
        output.results().print(f"{kept.cid} is in {target}", markup=False)


def _list_cached(settings: "Settings", *, as_json: bool) -> None:
    from assay_node.protocol.units import size_to_text

    layers = _cache(settings).layers()
    if as_json:
        output.print_json({"layers": layers})
        return
    for layer in layers:
        size = size_to_text(layer.bytes)
        line = f"{layer.cid}  {size:>10}  of {size_to_text(layer.unpacked_bytes)} unpacked"
        output.results().print(line, markup=False)


def _prune_cached(settings: "Settings", chosen: list[str] | None, *, as_json: bool) -> None:
    from assay_node.protocol import cid as cids

    wanted = None if chosen is None else [cids.parse(text) for text in chosen]
    gone = _cache(settings).drop_unused(wanted)
    _tell_gone([layer.cid for layer in gone], as_json=as_json)


def _cache(settings: "Settings") -> Any:
    from assay_node.protocol.errors import LocalError
    from assay_provider.environments.availability import CACHE_FOLDER
    from assay_provider.environments.cache import LayerCache

    folder = settings.provider.home / CACHE_FOLDER
    if not folder.is_dir():
        raise LocalError(f"no provider has kept layers in {folder}")
    return LayerCache(folder, quota_bytes=settings.provider.environments.quota_bytes)


async def _read(settings: "Settings", text: str) -> "Kept":
    from assay_node.app import open_store
    from assay_provider.environments.building.kept import read_environment

    async with open_store(settings, settings.requester.home, None) as artifacts:
        return await read_environment(artifacts, text)


def _document(manifest: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(manifest),
        "tar_bytes": manifest.tar_bytes,
        "unpacked_bytes": manifest.unpacked_bytes,
    }


def _tell_gone(gone: list[str], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"gone": gone})
        return
    for cid in gone:
        output.results().print(cid, markup=False)
    if not gone:
        output.people().print("nothing was there to go, or jobs use it", markup=False)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """Yield a temporary folder on the disk of the artifact store: /tmp may be small."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="environment-", dir=home) as folder:
        yield Path(folder)
