import stat
from pathlib import Path

import pytest

from assay_provider.runtime.environment import (
    PATH_INSIDE,
    cpu_variables,
    default_variables,
    digest_of,
    environment_digest,
    host_python,
    readable_for_all,
    system_root,
    variables_inside,
)

DESCRIPTION = {
    "python": "CPython 3.11.7",
    "libc": "glibc 2.36",
    "machine": "x86_64",
    "distributions": {"numpy": "2.4.6", "torch": "2.13.0"},
    "variables": {"OMP_NUM_THREADS": "1"},
}


def test_a_digest_does_not_depend_on_the_order_things_were_found_in() -> None:
    turned = DESCRIPTION | {"distributions": {"torch": "2.13.0", "numpy": "2.4.6"}}

    assert digest_of(**turned) == digest_of(**DESCRIPTION)
    assert len(digest_of(**DESCRIPTION)) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"python": "CPython 3.11.8"},
        {"libc": "glibc 2.37"},
        {"machine": "aarch64"},
        {"distributions": {"numpy": "2.4.6"}},
        {"distributions": {"numpy": "2.4.6", "torch": "2.13.1"}},
        {"variables": {"OMP_NUM_THREADS": "2"}},
    ],
)
def test_whatever_may_change_results_changes_the_digest(change: dict[str, object]) -> None:
    assert digest_of(**(DESCRIPTION | change)) != digest_of(**DESCRIPTION)


def test_this_environment_has_one_digest() -> None:
    assert environment_digest() == environment_digest()


def test_every_provider_uses_the_same_number_of_threads() -> None:
    for machine in ("x86_64", "aarch64"):
        variables = cpu_variables(machine)
        assert {v for name, v in variables.items() if name.endswith("_THREADS")} == {"1"}


def test_jobs_start_with_a_fixed_set_of_variables() -> None:
    variables = default_variables("x86_64")

    assert variables["PYTHONHASHSEED"] == "0"
    assert variables["TZ"] == "UTC"
    assert variables["HOME"] == "/tmp"
    assert not [name for name in variables if name.startswith("ASSAY")]


def test_the_python_inside_is_not_named_after_the_owners_folders() -> None:
    python = host_python()

    targets = {*python.links.values(), *python.pyvenv_config.split()}
    for folder in (python.base, python.site_packages):
        assert folder is None or not any(target.startswith(folder) for target in targets)


def test_usr_is_always_bound_first() -> None:
    root = system_root()

    assert root.bound[0] == "/usr"
    assert not {path for path, _ in root.links} & set(root.bound)


def test_input_becomes_readable_and_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    (tmp_path / "a" / "x").write_text("x")
    (tmp_path / "a" / "x").chmod(0o600)
    outside = tmp_path.parent / "outside"
    outside.write_text("secret")
    outside.chmod(0o600)
    (tmp_path / "a" / "link").symlink_to(outside)

    readable_for_all(tmp_path)

    modes = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a", tmp_path / "a/x", outside)]
    assert modes == [0o755, 0o644, 0o600]


def test_an_environments_variables_count_more_than_the_sandboxes() -> None:
    own = {"PATH": "/opt/environment/bin:/usr/bin", "LANG": "C", "OMP_NUM_THREADS": "2"}
    variables = variables_inside(own, "x86_64")
    assert own.items() <= variables.items()
    assert variables["MKL_CBWR"] == "COMPATIBLE", "what it does not say is pinned all the same"
    assert variables["PYTHONHASHSEED"] == "0"
    assert "LD_LIBRARY_PATH" not in variables
    assert variables_inside({}, "aarch64")["PATH"] == PATH_INSIDE


def test_exact_torch_comes_first_in_an_environment_too() -> None:
    assert variables_inside({}, "x86_64")["PYTHONPATH"] == "/opt/exact"
    inside = variables_inside({"PYTHONPATH": "/app"}, "x86_64")
    assert inside["PYTHONPATH"] == "/opt/exact:/app"
