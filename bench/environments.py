"""What an environment costs a provider: mounting a cached one, making one, and a job in it.

The environment is this machine's Python with NumPy, built here. Needs root, cgroups, loop devices,
mksquashfs and bubblewrap, as serving environments does. References are taken in turns with what is
measured: unpacking the same layers with tar, unpacking and packing them with the plain tools, and
the same job in the provider's own Python.
"""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.ports import ArtifactLimits
from assay_node.protocol.ids import Cid
from assay_node.protocol.units import MIB
from assay_provider.environments.availability import find_packer
from assay_provider.environments.building.build import Builder, Built
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.preparation import EnvironmentLimits, Environments
from assay_provider.runtime.bubblewrap import BubblewrapSandbox, open_sandbox
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import EnvironmentRoot, RunLimits, RunRequest, Verdict
from bench.figures import Figure, percentile

REQUIREMENTS = "numpy\n"
MOUNTS, UNPACKINGS, JOBS = 200, 3, 40
MOUNT_GOAL_MS = 50.0
UID = 1_999_998
LIMITS = RunLimits(
    memory_bytes=512 * MIB,
    cpus=1.0,
    pids_max=64,
    scratch_bytes=16 * MIB,
    output_bytes=MIB,
    output_files_max=16,
    wall_seconds=60,
    log_bytes=4096,
)


def run() -> list[Figure]:
    if os.getuid() != 0 or shutil.which("mksquashfs") is None:
        sys.exit("bench: environments need root and squashfs-tools")
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    settings = ArtifactSettings(root=folder / "store", quota_bytes=1 << 32)
    sandbox_settings = SandboxSettings(instance=f"bench-{os.getpid()}", uid_first=UID - 1000)
    try:
        async with open_artifacts(settings, None) as store, open_sandbox(sandbox_settings) as box:
            built = await _build(folder, store)
            tars = []
            for number, layer in enumerate(built.manifest.layers):
                tars.append(folder / f"tar-{number}")
                await store.export(layer.cid, tars[-1])
            making, plain = [], []
            for turn in range(UNPACKINGS):
                environments = _environments(folder / f"cache-{turn}", store)
                started = time.perf_counter()
                async with environments.root(built.cid, _here) as root:
                    making.append(time.perf_counter() - started)
                    plain.append(await asyncio.to_thread(_unpack_and_pack, tars, folder))
                    if turn == UNPACKINGS - 1:
                        mounting, unpacking = await asyncio.to_thread(
                            _take_turns, box, root, tars, folder
                        )
                        inside, outside = await _jobs(box, root, folder)
        return _figures(built, mounting, unpacking, making, plain, inside, outside)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _build(folder: Path, store: EmbeddedArtifacts) -> Built:
    asked, scratch = folder / "requirements.txt", folder / "scratch"
    await asyncio.to_thread(asked.write_text, REQUIREMENTS)
    await asyncio.to_thread(scratch.mkdir)
    builder = Builder(
        artifacts=store, scratch=scratch, python=sys.executable, machine=platform.machine()
    )
    return await builder.from_requirements(asked, name="bench")


def _environments(folder: Path, store: EmbeddedArtifacts) -> Environments:
    return Environments(
        artifacts=store,
        cache=LayerCache(folder, quota_bytes=1 << 32),
        packer=find_packer(UID),
        limits=EnvironmentLimits(unpacked_bytes_max=1 << 32, prepare_s_max=600),
    )


async def _here(cid: Cid, limits: ArtifactLimits) -> None:
    """Everything is in the store already."""


def _take_turns(
    box: BubblewrapSandbox, root: EnvironmentRoot, tars: list[Path], folder: Path
) -> tuple[list[float], list[float]]:
    """Return milliseconds of mounting, as the daemon waits for it, and of unpacking with tar."""
    mounting, unpacking = [], []
    for number in range(MOUNTS):
        mounting.append(_ms(lambda: box.mount(root)))
        box.unmount(root)
        if number % (MOUNTS // UNPACKINGS) == 0:
            unpacking.append(_ms(lambda: _unpack(tars, folder / "tree")))
            shutil.rmtree(folder / "tree")
    return mounting, unpacking


async def _jobs(
    box: BubblewrapSandbox, root: EnvironmentRoot, folder: Path
) -> tuple[list[float], list[float]]:
    """Return milliseconds of a job that does nothing: in the environment, and in the host's."""
    inside, outside = [], []
    for number in range(JOBS + 1):
        for kept, where in ((inside, root), (outside, None)):
            place = folder / f"job-{number}-{'inside' if where else 'outside'}"
            for name in ("input", "output"):
                (place / name).mkdir(parents=True)
            request = RunRequest(
                command=("sh", "-c", "true"),
                environment={},
                input_directory=place / "input",
                output_directory=place / "output",
                limits=LIMITS,
                runtime="host-python" if where is None else where.digest,
                root=where,
            )
            started = time.perf_counter()
            result = await box.run(request, 0)
            assert result.verdict is Verdict.OK, result.detail
            if number:  # the first one mounts
                kept.append(1000 * (time.perf_counter() - started))
    return inside, outside


def _unpack(tars: list[Path], target: Path) -> None:
    for number, tar in enumerate(tars):
        place = target / str(number)
        place.mkdir(parents=True)
        subprocess.run(["tar", "-xf", tar, "-C", place], check=True)


def _unpack_and_pack(tars: list[Path], folder: Path) -> float:
    started = time.perf_counter()
    _unpack(tars, folder / "plain")
    for number in range(len(tars)):
        source, image = folder / "plain" / str(number), folder / f"image-{number}"
        options = ["-noappend", "-quiet", "-no-progress", "-comp", "zstd"]
        options += ["-Xcompression-level", "3", "-processors", "2"]
        subprocess.run(["mksquashfs", source, image, *options], check=True, capture_output=True)
        image.unlink()
    shutil.rmtree(folder / "plain")
    return time.perf_counter() - started


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def _figures(
    built: Built,
    mounting: list[float],
    unpacking: list[float],
    making: list[float],
    plain: list[float],
    inside: list[float],
    outside: list[float],
) -> list[Figure]:
    mib = built.manifest.unpacked_bytes >> 20
    print(f"  the environment: {len(built.manifest.layers)} layers, {mib} MiB unpacked", flush=True)
    return [
        _figure(
            "mounting a cached environment of two layers",
            "ms",
            mounting,
            ("unpacking its tars", unpacking),
            goal=f"at most {MOUNT_GOAL_MS:g} ms",
            holds=median(mounting) <= MOUNT_GOAL_MS,
        ),
        _figure(
            "making an environment that is not cached",
            "s",
            making,
            ("tar and mksquashfs, unconfined", plain),
            goal="at most 3 times the plain tools",
            holds=median(making) <= 3 * median(plain),
        ),
        _figure(
            "a job that does nothing, in a mounted environment",
            "ms",
            inside,
            ("in host-python", outside),
            goal="at most 1.5 times host-python",
            holds=median(inside) <= 1.5 * median(outside),
        ),
    ]


def _figure(
    name: str,
    unit: str,
    values: list[float],
    reference: tuple[str, list[float]],
    *,
    goal: str,
    holds: bool,
) -> Figure:
    text, others = reference
    value, reference_value = median(values), median(others)
    print(f"  {name}: {value:.3g} {unit}; {text}: {reference_value:.3g} {unit}", flush=True)
    return Figure(
        figure=name,
        value=round(value, 3),
        unit=unit,
        spread=(round(percentile(values, 0.05), 3), round(percentile(values, 0.95), 3)),
        reference=text,
        reference_value=round(reference_value, 3),
        ratio=round(value / reference_value, 4),
        goal=goal,
        holds=holds,
    )
