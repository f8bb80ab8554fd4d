"""Signs of the owner, from a made-up /dev, /proc and login manager."""

import os
from pathlib import Path

import pytest

from assay_provider.inventory.activity import OwnerSigns, run_program
from assay_provider.owner.schedule import Activity

NOW = 1_800_000_000.0
TICKS = os.sysconf("SC_CLK_TCK")
NOBODY = range(0)


class Clock:
    time = 50.0

    def __call__(self) -> float:
        return self.time


class Sessions:
    """A login manager; `None` for one that does not answer."""

    def __init__(self, *sessions: dict[str, str]) -> None:
        self.sessions = sessions

    def __call__(self, arguments: tuple[str, ...]) -> str | None:
        if "list-sessions" in arguments:
            return "".join(f"  c{n} 1000 eve seat0 -\n" for n in range(len(self.sessions)))
        facts = self.sessions[int(arguments[arguments.index("show-session") + 1][1:])]
        return "".join(f"{name}={value}\n" for name, value in facts.items())


def no_manager(_: tuple[str, ...]) -> str | None:
    return None


def a_desktop(**changes: str) -> dict[str, str]:
    return {"Type": "wayland", "Class": "user", "State": "active", "IdleHint": "no", **changes}


def signs(tmp_path: Path, **changes: object) -> OwnerSigns:
    fields = {
        "uids": NOBODY,
        "dev": tmp_path / "dev",
        "proc": tmp_path / "proc",
        "run": no_manager,
        "pid": 100,
        "monotonic": Clock(),
    }
    return OwnerSigns(**{**fields, **changes})  # type: ignore[arg-type]


def terminal(tmp_path: Path, name: str, idle_s: float) -> None:
    path = tmp_path / "dev" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (NOW - idle_s, NOW))


def process(tmp_path: Path, pid: int, parent: int, cpu_s: float, name: str = "x") -> None:
    folder = tmp_path / "proc" / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    fields = ["S", str(parent), *["0"] * 9, str(round(cpu_s * TICKS)), "0", *["0"] * 30]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_a_machine_without_signs_says_what_is_missing(tmp_path: Path) -> None:
    assert signs(tmp_path).read(NOW) == Activity(
        unknown=(
            "no login manager tells of desktops",
            "no terminal and no desktop is here to be idle",
        )
    )


def test_the_terminal_typed_at_last_counts(tmp_path: Path) -> None:
    terminal(tmp_path, "pts/0", 400)
    terminal(tmp_path, "pts/1", 90)
    terminal(tmp_path, "tty1", 5000)
    terminal(tmp_path, "ptmx", 0)
    terminal(tmp_path, "tty", 0)
    assert signs(tmp_path).read(NOW).idle_s == pytest.approx(90)


def test_a_clock_that_was_set_back_is_no_negative_idleness(tmp_path: Path) -> None:
    terminal(tmp_path, "pts/0", -500)
    assert signs(tmp_path).read(NOW).idle_s == 0


@pytest.mark.parametrize(
    ("session", "idle_s"),
    [
        (a_desktop(), 0.0),
        (a_desktop(IdleHint="yes", IdleSinceHint=str(round((NOW - 700) * 1e6))), 700.0),
        (a_desktop(IdleHint="yes", IdleSinceHint="nonsense"), 0.0),
        (a_desktop(Type="tty"), None),
        (a_desktop(Class="greeter"), None),
        (a_desktop(State="closing"), None),
    ],
)
def test_desktops_are_idle_as_their_login_manager_says(
    tmp_path: Path, session: dict[str, str], idle_s: float | None
) -> None:
    found = signs(tmp_path, run=Sessions(session)).read(NOW).idle_s
    assert found == (idle_s if idle_s is None else pytest.approx(idle_s, abs=1))


def test_the_desktop_in_use_counts_beside_an_idle_terminal(tmp_path: Path) -> None:
    terminal(tmp_path, "pts/0", 4000)
    idle = a_desktop(IdleHint="yes", IdleSinceHint=str(round((NOW - 3000) * 1e6)))
    found = signs(tmp_path, run=Sessions(idle, a_desktop())).read(NOW)
    assert found.idle_s == 0
    assert found.unknown == ()


def test_other_programs_are_those_that_are_neither_ours_nor_the_kernels(tmp_path: Path) -> None:
    clock = Clock()
    seen = signs(tmp_path, monotonic=clock)
    process(tmp_path, 2, 0, 0)
    process(tmp_path, 9, 2, 0, "kworker")
    process(tmp_path, 100, 1, 0, "assay")
    process(tmp_path, 101, 100, 0, "a job (of 4 words")
    process(tmp_path, 500, 1, 10, "game) S 2")
    assert seen.read(NOW).other_cpus is None
    clock.time += 10
    process(tmp_path, 9, 2, 7, "kworker")
    process(tmp_path, 100, 1, 7, "assay")
    process(tmp_path, 101, 100, 9, "a job (of 4 words")
    process(tmp_path, 102, 101, 9, "its child")
    process(tmp_path, 500, 1, 25, "game) S 2")
    process(tmp_path, 501, 500, 5, "new")
    assert seen.read(NOW).other_cpus == pytest.approx(2.0)
    clock.time += 10
    assert seen.read(NOW).other_cpus == 0


def test_programs_of_the_slots_users_are_jobs_wherever_they_hang(tmp_path: Path) -> None:
    clock = Clock()
    mine = os.getuid()
    seen = signs(tmp_path, monotonic=clock, uids=range(mine, mine + 1))
    process(tmp_path, 500, 1, 0)
    seen.read(NOW)
    clock.time += 1
    process(tmp_path, 500, 1, 1)
    assert seen.read(NOW).other_cpus == 0


def test_a_process_that_ends_meanwhile_or_makes_no_sense_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "proc" / "77").mkdir(parents=True)
    (tmp_path / "proc" / "78").mkdir()
    (tmp_path / "proc" / "78" / "stat").write_text("nonsense")
    seen = signs(tmp_path)
    seen.read(NOW)
    seen.monotonic = lambda: 60.0
    assert seen.read(NOW).other_cpus == 0


def test_programs_on_gpus_are_the_drivers_without_the_daemons_and_its_jobs(tmp_path: Path) -> None:
    process(tmp_path, 100, 1, 0, "assay")
    process(tmp_path, 101, 100, 0, "a job")
    process(tmp_path, 500, 1, 0, "game")
    on_gpus = (101, 500, 900)  # the last one is not to be seen from here
    assert signs(tmp_path, gpu_programs=lambda: on_gpus).read(NOW).other_gpu_programs == 2
    assert signs(tmp_path, gpu_programs=lambda: ()).read(NOW).other_gpu_programs == 0


def test_a_program_that_fails_or_is_not_there_says_nothing() -> None:
    assert run_program(("echo", "hello")) == "hello\n"
    assert run_program(("false",)) is None
    assert run_program(("/nonexistent/loginctl",)) is None


def test_this_machine_can_be_read() -> None:
    seen = OwnerSigns(uids=NOBODY)
    seen.read(NOW)
    assert (seen.read(NOW).other_cpus or 0) >= 0
