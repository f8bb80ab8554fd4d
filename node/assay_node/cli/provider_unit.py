"""`assay provider install-unit`: have systemd run the daemon."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay_node.cli import output
from assay_node.cli.output import PasswordFileOption

if TYPE_CHECKING:
    from assay_node.settings import Settings
    from assay_provider.owner.unit_file import UnitPlan

app = typer.Typer()


@app.command("install-unit")
def install_unit(
    user: Annotated[
        bool, typer.Option("--user", help="For your own systemd; jobs are isolated weakly then.")
    ] = False,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the unit instead of writing it.")
    ] = False,
    password_file: PasswordFileOption = None,
) -> None:
    """Write a systemd unit that runs the daemon with these settings' home and config file.

    systemd restarts it after a crash and hands it the password as a credential. Stopping it hands
    jobs back; `assay provider drain` lets them finish first.
    """
    from assay_node.protocol.errors import LocalError
    from assay_provider.owner.unit_file import install_unit as install
    from assay_provider.owner.unit_file import unit_path, unit_text

    settings = output.settings({"password_file": password_file})
    if settings.password_file is None:
        raise LocalError(
            "nobody types a password at boot: name a file (mode 0600) that holds it, with "
            "--password-file"
        )
    text = unit_text(_plan(settings, settings.password_file, for_user=user))
    if print_only:
        output.results().print(text, end="", markup=False)
        return
    path = unit_path(for_user=user, home=Path.home())
    written = install(path, text)
    scope = " --user" if user else ""
    people = output.people()
    people.print(f"{'wrote' if written else 'nothing to change in'} {path}; now:", markup=False)
    people.print(f"  systemctl{scope} daemon-reload", markup=False)
    people.print(f"  systemctl{scope} enable --now {path.name}", markup=False)
    if user:
        people.print("  loginctl enable-linger    # else it ends when you log out", markup=False)


def _plan(settings: "Settings", password_file: Path, *, for_user: bool) -> "UnitPlan":
    from assay_node.settings import assay_home, config_in_use
    from assay_provider.owner.unit_file import UnitPlan
    from assay_provider.runtime.environment import exact_kernels

    config = config_in_use(output.config_path.get())
    environment = {"ASSAY_HOME": str(assay_home())}
    if config is not None:
        environment["ASSAY_CONFIG"] = str(config)
    writable = [assay_home(), settings.provider.home, exact_kernels()]
    if settings.log_file is not None:
        writable.append(settings.log_file.parent)
    return UnitPlan(
        command=(sys.executable, "-m", "assay_node", "provider", "run"),
        password_file=password_file,
        writable=tuple(dict.fromkeys(writable)),
        environment=environment,
        for_user=for_user,
    )
