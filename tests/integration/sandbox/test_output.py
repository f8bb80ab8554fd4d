"""What comes out of a run: plain files of the provider, or a clear reason why not."""

import os
import stat
from collections.abc import Callable

import pytest

from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.sandbox import RunRequest, Verdict
from tests.integration.sandbox.conftest import RunShell

MakeRequest = Callable[..., RunRequest]


async def test_output_becomes_plain_files_of_the_daemon(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    request = make_request(
        "/bin/sh",
        "-c",
        "umask 077; mkdir -p /output/a/b; printf one > /output/a/one; cp /input/greeting /output;"
        " chmod 000 /output/a/one; ln /output/greeting /output/again; chmod 000 /output/a /output",
    )

    result = await sandbox.run(request, 0)

    assert result.verdict is Verdict.OK, result
    out = request.output_directory
    files = {str(p.relative_to(out)): p for p in out.rglob("*")}
    assert sorted(files) == ["a", "a/b", "a/one", "again", "greeting"]
    assert files["a/one"].read_text() == "one"
    assert files["again"].read_text() == files["greeting"].read_text() == "hello"
    for path in files.values():
        status = path.lstat()
        assert (status.st_uid, status.st_nlink == 1 or path.is_dir()) == (os.getuid(), True)
        assert stat.S_IMODE(status.st_mode) == (0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("ln -s /etc/passwd /output/x", "symbolic link"),
        ("ln -s ../../../.. /output/x", "symbolic link"),
        ("mkfifo /output/x", "named pipe"),
        ("echo > /output/x; chmod u+s /output/x", "set-user-id"),
        ("mkdir /output/x; chmod g+s /output/x", "set-user-id"),
        ("touch \"/output/$(printf '\\377')x\"", "not UTF-8"),
        ("python -c \"import socket; socket.socket(1).bind('/output/x')\"", "socket"),
    ],
)
async def test_anything_but_files_and_directories_is_refused(
    sandbox: BubblewrapSandbox, make_request: MakeRequest, script: str, reason: str
) -> None:
    request = make_request("/bin/sh", "-c", f"echo fine > /output/a; {script}")

    result = await sandbox.run(request, 0)

    assert result.verdict is Verdict.ERROR
    assert result.exit_code == 0
    assert reason in result.detail
    assert list(request.output_directory.iterdir()) == [], "nothing is written before the check"


async def test_the_output_of_a_failed_command_is_dropped(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    request = make_request("/bin/sh", "-c", "echo partial > /output/x; exit 1")

    result = await sandbox.run(request, 0)

    assert result.verdict is Verdict.ERROR
    assert list(request.output_directory.iterdir()) == []


async def test_output_that_is_too_large_is_dropped(
    sandbox: BubblewrapSandbox, make_request: MakeRequest
) -> None:
    request = make_request("/bin/sh", "-c", "truncate -s 1G /output/x")

    result = await sandbox.run(request, 0)

    assert result.verdict is Verdict.OUTPUT_TOO_LARGE
    assert list(request.output_directory.iterdir()) == []


async def test_no_output_at_all_is_fine(shell: RunShell) -> None:
    assert (await shell("true", output_bytes=0, output_files_max=0)).verdict is Verdict.OK
