"""Compiles the Python files of a layer beforehand, for whoever asks for it.

Importing PyTorch compiles 1,500 files, which is half of its start, in every run of every replica.
The compiled files are marked as not to be compared with their sources (PEP 552), so neither times
nor reading the sources matter. They are the same for one interpreter in one version; another one
may write others, and then the layer has another CID.
"""

import asyncio
import shutil
from pathlib import Path

from assay_node.protocol.errors import LocalError
from assay_provider.environments.building.tree import Tree

_FOLDER = "__pycache__"


async def compile_python(tree: Tree, python: Path, scratch: Path) -> None:
    """Add the compiled form of every Python file; `scratch` is an empty folder that stays in use.

    Files that this Python cannot compile stay as they are: packages carry some for other versions.

    Raises:
        LocalError: the Python does not run.
    """
    await asyncio.to_thread(_write_sources, tree, scratch)
    try:
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-I", "-m", "compileall", "-q", "-q", "-j", "1"),
            *("--invalidation-mode", "unchecked-hash", "-s", str(scratch), "-p", "/"),
            str(scratch),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise LocalError(f"{python} does not run: {error.strerror}") from None
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for compiled in await asyncio.to_thread(lambda: sorted(scratch.rglob("*.pyc"))):
        tree.add_copy(str(compiled.relative_to(scratch)), compiled)


def _write_sources(tree: Tree, scratch: Path) -> None:
    for path, node in tree.nodes.items():
        if not path.endswith(".py") or node.open is None or f"/{_FOLDER}/" in path:
            continue
        target = scratch / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with node.open() as source, target.open("xb") as file:
            shutil.copyfileobj(source, file)
