"""Environments in the real sandbox: made here, packed here, mounted once, and nothing left over."""

import asyncio
import contextlib
import json
import platform
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.ports import ArtifactLimits
from assay_node.protocol import environment
from assay_node.protocol.environment import EnvironmentManifest
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Cid
from assay_provider.environments import availability
from assay_provider.environments.building.build import Builder
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.packing import Packer
from assay_provider.environments.preparation import EnvironmentLimits, Environments
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.exact import ExactRun, ExactSetup
from assay_provider.runtime.mounted_environments import IDLE_MAX
from assay_provider.runtime.preparation import SandboxSettings
from assay_provider.runtime.sandbox import (
    EnvironmentRoot,
    RunRequest,
    RunResult,
    SandboxUnavailable,
    Verdict,
)
from tests.builders.layers import (
    a_layer,
    file,
    folder,
    layer_bytes,
    link,
    whiteout,
)
from tests.builders.wheels import write_wheel
from tests.integration.sandbox.conftest import needs_root
from tests.integration.sandbox.traces import sandbox_processes, until

pytestmark = [
    needs_root,
    pytest.mark.skipif(
        shutil.which("mksquashfs") is None, reason="squashfs-tools is not installed"
    ),
]

UID = 1_999_999
"""Whom the children that unpack and pack run as; nobody else on this machine."""


@dataclass
class Workshop:
    """A store, a cache, and one environment with a Python and a package of ours."""

    folder: Path
    cache: LayerCache
    cid: Cid
    manifest: EnvironmentManifest

    @contextlib.asynccontextmanager
    async def root(self):
        async with self.store() as store, self.environments(store).root(self.cid, here) as root:
            yield root

    def store(self):
        return open_artifacts(
            ArtifactSettings(root=self.folder / "store", quota_bytes=1 << 32), None
        )

    def environments(self, store: EmbeddedArtifacts) -> Environments:
        return Environments(
            artifacts=store,
            cache=self.cache,
            packer=availability.find_packer(UID),
            limits=EnvironmentLimits(unpacked_bytes_max=1 << 32, prepare_s_max=300),
        )

    def loops(self) -> list[str]:
        """Return the loop devices of this machine that have an image of this cache."""
        found = []
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):  # it went while it was looked at
                if str(self.folder) in backing.read_text():
                    found.append(backing.parts[3])
        return sorted(found)


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def processes_of(uid: int) -> list[Path]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while it was looked at
            if process.stat().st_uid == uid:
                found.append(process)
    return found


async def here(cid: Cid, limits: ArtifactLimits) -> None:
    """Everything is in the store already."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return asyncio.run(build_workshop(tmp_path_factory.mktemp("environments")))


async def build_workshop(folder: Path) -> Workshop:
    files = {"greeting.py": b"TEXT = 'hello from a wheel'\ndef hello(): return TEXT\n"}
    wheel = write_wheel(folder / "index", "greeting", files)
    asked = folder / "requirements.txt"
    asked.write_text(f"--no-index\n--find-links {wheel.parent}\ngreeting\n")
    cache = LayerCache(folder / "cache", quota_bytes=1 << 30)
    settings = ArtifactSettings(root=folder / "store", quota_bytes=1 << 32)
    async with open_artifacts(settings, None) as store:
        (folder / "scratch").mkdir()
        builder = Builder(
            artifacts=store,
            scratch=folder / "scratch",
            python=sys.executable,
            machine=platform.machine(),
        )
        built = await builder.from_requirements(asked, name="test")
    return Workshop(folder=folder, cache=cache, cid=built.cid, manifest=built.manifest)


@pytest.fixture
def in_environment(
    sandbox: BubblewrapSandbox,
    has_cgroups: None,
    make_request: Callable[..., RunRequest],
    workshop: Workshop,
):
    """Run a command in the environment, in a slot."""

    async def run(*command: str, slot: int = 0, **options: object) -> RunResult:
        changes = {key: options.pop(key) for key in ("exact", "root") if key in options}
        request = make_request(*command, **options)
        if "root" in changes:
            return await sandbox.run(replace(request, **changes), slot)
        async with workshop.root() as root:
            return await sandbox.run(replace(request, root=root, **changes), slot)

    return run


async def test_a_job_runs_in_what_its_environment_holds(in_environment) -> None:
    code = "import greeting, sys, hashlib, ssl, sqlite3, ctypes; print(greeting.TEXT, sys.prefix)"
    result = await in_environment("python", "-c", code)
    assert result.log_tail == b"hello from a wheel /opt/environment\n"
    assert result.verdict is Verdict.OK


async def test_nothing_of_the_host_is_in_it(in_environment, workshop: Workshop) -> None:
    code = f"""
import os
for folder in ("/", "/etc", "/opt", "/usr", "/usr/bin"):
    print(folder, *sorted(os.listdir(folder)))
print(os.path.exists("/opt/python"), os.path.exists({str(workshop.folder)!r}))
"""
    result = await in_environment("python", "-c", code)
    lines = result.log_tail.decode().splitlines()
    top = set(lines[0].split()[1:])
    expected = {"dev", "etc", "input", "opt", "output", "proc", "tmp", "usr"}
    assert expected <= top <= expected | {"bin", "lib", "lib32", "lib64", "libx32", "sbin"}
    assert lines[1] == "/etc group hosts nsswitch.conf passwd"
    assert lines[2] == "/opt driver environment exact"
    assert lines[4] == "/usr/bin env sh"
    assert lines[5] == "False False"


async def test_the_environment_is_read_only_for_every_job(in_environment) -> None:
    code = """
import os
for folder in ("/", "/usr", "/usr/bin", "/etc", "/opt", "/opt/environment/bin", "/dev", "/input"):
    try:
        open(folder + "/probe", "w")
    except OSError:
        continue
    print("could write to", folder)
for mount in open("/proc/mounts"):
    device, place, kind, options = mount.split()[:4]
    if kind == "overlay":
        print(place, *sorted({"ro", "nosuid", "nodev"} & set(options.split(","))))
open("/tmp/x", "w").write("x"); open("/output/x", "w").write("x")
"""
    result = await in_environment("python", "-c", code)
    assert result.log_tail == b"/ nodev nosuid ro\n"
    assert result.verdict is Verdict.OK


async def test_variables_come_from_sandbox_environment_and_job_in_this_order(
    in_environment, workshop: Workshop
) -> None:
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    async with workshop.root() as root:
        own = {**root.variables, "A": "environment", "B": "environment", "LANG": "C"}
        result = await in_environment(
            "python", "-c", code, env={"B": "job"}, root=replace(root, variables=own)
        )
    seen = json.loads(result.log_tail)
    assert (seen["A"], seen["B"], seen["LANG"]) == ("environment", "job", "C")
    assert seen["HOME"] == "/tmp"
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["PYTHONPATH"].startswith("/opt/exact")
    assert "LD_LIBRARY_PATH" not in seen


async def test_the_limits_hold_in_it_too(in_environment) -> None:
    async def code(text: str, **limits: float) -> RunResult:
        return await in_environment("python", "-c", text, **limits)

    assert (await code("x = b'x' * (400 << 20)")).verdict is Verdict.OUT_OF_MEMORY
    assert (await code("while True: pass", wall_seconds=1)).verdict is Verdict.TIMEOUT
    full = "open('/tmp/x', 'wb').write(b'x' * (64 << 20))"
    assert (await code(full)).verdict is Verdict.DISK_FULL


async def test_a_command_that_the_environment_lacks(in_environment) -> None:
    result = await in_environment("perl", "-e", "1")
    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 127)


async def test_an_exact_job_uses_the_environments_python(in_environment) -> None:
    """Which has no torch here: the same error on every machine, and no claim of the host's."""
    exact = ExactRun(mode="E21", setup=ExactSetup(engine="native"))
    result = await in_environment("python", "/input/greeting", exact=exact)
    assert result.verdict is Verdict.ERROR
    assert result.log_tail.rstrip().endswith(b"ModuleNotFoundError: No module named 'torch'")


async def test_jobs_at_once_share_one_mount(
    in_environment, sandbox: BubblewrapSandbox, workshop: Workshop
) -> None:
    ready = "import os, time; open('/output/x', 'w'); time.sleep(30)"
    jobs = [
        asyncio.create_task(in_environment("python", "-c", ready, slot=slot)) for slot in range(3)
    ]
    try:
        await until(lambda: len(workshop.loops()) == len(workshop.manifest.layers))
        await until(lambda: sandbox._environments._users[workshop.cid] == 3)
        assert len(workshop.loops()) == len(workshop.manifest.layers)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.wait(jobs)
    assert sandbox._environments._users[workshop.cid] == 0


async def packed(workshop: Workshop, *tars: tuple) -> EnvironmentRoot:
    """Pack layers made of these entries, without a manifest."""
    images = []
    for number, entries in enumerate(tars):
        tar = layer_bytes(*entries)
        place = workshop.folder / f"packed-{len(list(workshop.folder.iterdir()))}-{number}"
        place.mkdir()
        (place / "tar").write_bytes(tar)
        packer = availability.find_packer(UID)
        packed = await packer.pack(place / "tar", place, a_layer(tar, *entries), seconds=60)
        images.append(packed.path)
    digest = f"test{len(list(workshop.folder.iterdir()))}"
    return EnvironmentRoot(digest=digest, layers=tuple(images), variables={})


async def above_base(workshop: Workshop, root: EnvironmentRoot, *tars: tuple) -> EnvironmentRoot:
    top = await packed(workshop, *tars)
    return replace(top, layers=(*root.layers, *top.layers), variables=root.variables)


async def test_upper_layers_hide_what_lies_below(in_environment, workshop: Workshop) -> None:
    async with workshop.root() as base:
        root = await above_base(
            workshop,
            base,
            (folder("data"), file("data/a", b"lower"), file("data/b", b"lower"), folder("data/c")),
            (folder("data"), whiteout("data/a"), whiteout("data/c"), file("data/b", b"upper")),
        )
        code = "import os; print(sorted(os.listdir('/data')), open('/data/b').read())"
        result = await in_environment("python", "-c", code, root=root)
    assert result.log_tail == b"['b'] upper\n"


async def test_links_where_the_sandbox_mounts_lead_nowhere(
    in_environment, workshop: Workshop
) -> None:
    """A layer that has links in place of /tmp, /proc, /opt/exact and /etc/passwd gets ours."""
    async with workshop.root() as base:
        root = await above_base(
            workshop,
            base,
            (
                link("dev", "usr/bin"),
                folder("etc"),
                link("etc/passwd", "../usr/bin/env"),
                link("input", "usr"),
                link("output", "usr"),
                link("proc", "usr"),
                link("tmp", "usr"),
            ),
        )
        code = (
            "import os; print(open('/etc/passwd').read()[:4], os.path.islink('/tmp'),"
            " open('/input/greeting').read(), os.path.exists('/proc/self/status'));"
            " open('/output/x', 'w')"
        )
        result = await in_environment("python", "-c", code, root=root)
    assert result.log_tail == b"job: False hello True\n"
    assert result.verdict is Verdict.OK


async def test_few_environments_stay_mounted_without_a_job(
    in_environment, workshop: Workshop, sandbox: BubblewrapSandbox
) -> None:
    async with workshop.root() as base:
        for number in range(IDLE_MAX + 2):
            root = await above_base(workshop, base, (file("number", b"%d" % number),))
            code = "print(open('/number').read())"
            result = await in_environment("python", "-c", code, root=root)
            assert result.log_tail == b"%d\n" % number
    # the base's layers are shared, and each environment has one of its own
    await until(lambda: len(workshop.loops()) <= len(base.layers) + IDLE_MAX)


async def test_an_image_that_is_none_is_the_machines_fault(
    in_environment, workshop: Workshop, sandbox: BubblewrapSandbox
) -> None:
    """It cannot come from a job: images are made and verified here. So no verdict, and no leak."""
    broken = workshop.folder / "broken"
    broken.write_bytes(b"no squashfs" * 1000)
    before = workshop.loops()
    async with workshop.root() as base:
        root = EnvironmentRoot(digest="broken", layers=(*base.layers, broken), variables={})
        with pytest.raises(SandboxUnavailable, match="mounting an environment failed"):
            await in_environment("python", "-c", "", root=root)
    assert workshop.loops() == before
    result = await in_environment("python", "-c", "print(1)")
    assert result.verdict is Verdict.OK


@pytest.fixture
def own_sandbox(sandbox_settings: SandboxSettings, tmp_path: Path) -> Iterator[BubblewrapSandbox]:
    point = tmp_path / "staging"
    point.mkdir()
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o001)
    opened = BubblewrapSandbox(
        replace(
            sandbox_settings,
            instance=f"{sandbox_settings.instance}-own",
            uid_first=sandbox_settings.uid_first + 80,
            staging_point=point,
        )
    )
    yield opened
    opened.close()


@pytest.mark.parametrize("how", ["close", "kill the launcher", "kill it under a job"])
async def test_no_mount_and_no_loop_device_is_left(
    own_sandbox: BubblewrapSandbox,
    workshop: Workshop,
    make_request: Callable[..., RunRequest],
    how: str,
) -> None:
    if own_sandbox.parts.detection.driver is None:
        pytest.skip(f"no writable cgroup here: {own_sandbox.parts.detection.reasons}")
    before = workshop.loops()
    async with workshop.root() as root:
        ran = await own_sandbox.run(replace(make_request("python", "-c", ""), root=root), 0)
        assert ran.verdict is Verdict.OK
        mounted = len(before) + len(root.layers)
        assert len(workshop.loops()) == mounted, "an idle environment stays mounted"
        match how:
            case "close":
                own_sandbox.close()
            case "kill the launcher":
                own_sandbox._launcher.process.send_signal(signal.SIGKILL)
            case _:
                request = replace(make_request("python", "-c", "while True: pass"), root=root)
                job = asyncio.create_task(own_sandbox.run(request, 0))
                await until(lambda: own_sandbox._environments._users[root.digest] == 1)
                await until(lambda: sandbox_processes(own_sandbox))
                own_sandbox._launcher.process.send_signal(signal.SIGKILL)
                with pytest.raises(SandboxUnavailable):
                    await job
        await until(lambda: workshop.loops() == before)
        if how != "close":
            again = await own_sandbox.run(replace(make_request("python", "-c", ""), root=root), 0)
            assert again.verdict is Verdict.OK, "the next job finds it mounted anew"
            own_sandbox.close()
            await until(lambda: workshop.loops() == before)
    assert str(own_sandbox.settings.staging_point) not in mounts()


PROBE = """#!/bin/sh
{
    id -u; id -G
    grep -E '^(CapEff|NoNewPrivs)' /proc/self/status
    tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '
    env | grep -v -E '^(PWD|SHLVL|_|OLDPWD)=' | wc -l
    cat outside ../tar 2>&1
    ls -ld /proc/$$/fd >/dev/null && ls -l /proc/$$/fd | grep -c socket
} > "$2"
exit 0
"""


async def test_packing_runs_confined(tmp_path: Path) -> None:
    """Put a script in the place of mksquashfs, and have it say where it is."""
    script = Path("/tmp") / f"probe-{tmp_path.name}-{UID}"
    script.write_text(PROBE)
    script.chmod(0o755)
    (tmp_path / "work").mkdir(mode=0o700)
    tar = layer_bytes(link("outside", "missing"))
    (tmp_path / "work" / "tar").write_bytes(tar)
    try:
        packed = await Packer(mksquashfs=str(script), uid=UID).pack(
            tmp_path / "work" / "tar",
            tmp_path / "work",
            a_layer(tar, link("outside", "missing")),
            seconds=60,
        )
    finally:
        script.unlink()
    lines = packed.path.read_text().splitlines()
    assert lines[:5] == [
        *(str(UID), str(UID)),
        *("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "lo"),
    ]
    assert lines[5] == "0", "no variable of the daemon's"
    assert all("No such file" in line or "Permission denied" in line for line in lines[6:8])
    assert lines[8] == "0"


@pytest.mark.parametrize("bytes_claimed", [0, 99, 101])
async def test_a_layer_that_is_not_what_its_manifest_says(
    tmp_path: Path, bytes_claimed: int
) -> None:
    entries = (file("a", b"x" * 100),)
    tar = layer_bytes(*entries)
    (tmp_path / "tar").write_bytes(tar)
    layer = replace(a_layer(tar, *entries), unpacked_bytes=bytes_claimed)
    with pytest.raises(MalformedMessage, match=r"more than|its environment says"):
        await availability.find_packer(UID).pack(tmp_path / "tar", tmp_path, layer, seconds=60)


async def test_packing_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    script = Path("/tmp") / f"slow-{tmp_path.name}-{UID}"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    (tmp_path / "tar").write_bytes(layer_bytes(file("a")))
    try:
        with pytest.raises(LocalError, match="not unpacked and packed within 2 s"):
            await Packer(mksquashfs=str(script), uid=UID).pack(
                tmp_path / "tar", tmp_path, a_layer(layer_bytes(file("a")), file("a")), seconds=2
            )
    finally:
        script.unlink()
    assert not processes_of(UID)


async def test_compiled_files_are_taken_as_they_are(
    in_environment, workshop: Workshop, tmp_path: Path
) -> None:
    """Built twice they have one CID, and Python uses them without a look at their sources."""
    asked, built = workshop.folder / "requirements.txt", []
    async with workshop.store() as store:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            builder = Builder(
                artifacts=store,
                scratch=tmp_path / name,
                python=sys.executable,
                machine=platform.machine(),
            )
            built.append(await builder.from_requirements(asked, name="test", compiled=True))
        assert built[0].cid == built[1].cid != workshop.cid
        code = (
            "import greeting, os, importlib.util as u; print(greeting.__cached__);"
            " print(os.path.exists(greeting.__cached__), greeting.hello.__code__.co_filename);"
            " print(u.MAGIC_NUMBER == open(greeting.__cached__, 'rb').read(4),"
            " open(greeting.__cached__, 'rb').read(8)[4])"
        )
        async with workshop.environments(store).root(built[0].cid, here) as root:
            result = await in_environment("python", "-c", code, root=root)
    site = f"/opt/environment/lib/python{workshop.manifest.python}/site-packages"
    lines = result.log_tail.decode().splitlines()
    assert lines[0].startswith(f"{site}/__pycache__/greeting.cpython-")
    assert lines[1:] == [f"True {site}/greeting.py", "True 1"]


async def test_the_same_layer_gives_the_same_image(workshop: Workshop) -> None:
    entries = (whiteout("d"), folder("a"), file("a/b", b"x" * 5000), link("c", "a"))
    one, two = await packed(workshop, entries), await packed(workshop, entries)
    assert one.layers[0].read_bytes() == two.layers[0].read_bytes()


async def test_the_trial_says_whether_environments_can_be_served(
    sandbox: BubblewrapSandbox,
    has_cgroups: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = LayerCache(tmp_path, quota_bytes=1 << 20)
    found = await availability.try_environments(sandbox, cache, UID)
    assert found.served, found.remark
    assert cache.layers() == ()

    def refuse(root: EnvironmentRoot) -> None:
        raise SandboxUnavailable("mounting an environment failed: no loop device")

    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "mount", refuse)
        found = await availability.try_environments(sandbox, cache, UID)
    assert (found.served, "no loop device" in found.remark) == (False, True)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    found = await availability.try_environments(sandbox, cache, UID)
    assert found.remark == "mksquashfs is not installed; install the package squashfs-tools"


def test_the_manifest_is_what_was_built(workshop: Workshop) -> None:
    assert workshop.manifest.python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert workshop.manifest.architecture == platform.machine()
    assert environment.encode(workshop.manifest)[0] == workshop.cid
