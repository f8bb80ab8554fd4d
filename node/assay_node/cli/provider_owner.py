"""`assay provider drain | resume | deny | allow`: the owner's word to a running daemon."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

if TYPE_CHECKING:
    from assay_node.settings import ProviderSettings

app = typer.Typer()

LOOK_S: Final = 1.0
"""How often `drain --wait` asks how far the daemon is."""

EntriesArgument = Annotated[
    list[str] | None,
    typer.Argument(help="Wallet addresses (0x...) and CIDs of specs, inputs or environments."),
]


@app.command("drain")
def drain(
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is drained.")] = False,
    deadline: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds after which jobs that still run are handed back, unpaid.",
            show_default=False,
        ),
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Then stay without jobs, instead of stopping.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take no new jobs, finish those under way until they are settled, then stop.

    A drain outlives a restart of the daemon; `assay provider resume` ends it.
    """
    from assay_provider.owner.control import ask_daemon

    mine = output.settings().provider
    afterwards = "stay" if stay else "stop"
    begun = ask_daemon(mine.home, "drain", deadline_s=deadline, afterwards=afterwards)
    if wait:
        _await_drained(mine, stay=stay)
    if as_json:
        output.print_json(begun)
        return
    output.people().print("drained" if wait else "draining: no new jobs are let in", markup=False)


@app.command("resume")
def resume(as_json: JsonOption = False) -> None:
    """End a drain: jobs are let in again."""
    from assay_provider.owner.control import NoDaemon, ask_daemon
    from assay_provider.owner.drain import forget_drain

    mine = output.settings().provider
    try:
        answer: dict[str, Any] = ask_daemon(mine.home, "resume")
    except NoDaemon:  # then its next start is what a drain would be about
        answer = {"was_draining": forget_drain(mine.home)}
    if as_json:
        output.print_json(answer)
        return
    said = "the drain is over" if answer["was_draining"] else "there was no drain"
    output.people().print(said, markup=False)


@app.command("deny")
def deny(
    entries: EntriesArgument = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A file of more, one a line; # starts a comment.", show_default=False),
    ] = None,
    remark: Annotated[str, typer.Option(help="Why, for yourself.", show_default=False)] = "",
    as_json: JsonOption = False,
) -> None:
    """Refuse these wallets' jobs, and what has these CIDs; without any, show who is denied.

    A running daemon goes by it from its next lease on. Jobs that run already finish.
    """
    from assay_provider.owner import denials

    mine = output.settings().provider
    path = mine.home / denials.DENIED_FILE
    wanted = [*(entries or ()), *_entries_of(file)]
    if not wanted:
        denied = denials.read_denied(path)
        _list(sorted(denied.addresses), sorted(denied.contents), as_json=as_json)
        return
    _tell(denials.deny(path, wanted, remark=remark), "added to", path, as_json=as_json)


@app.command("allow")
def allow(entries: EntriesArgument = None, as_json: JsonOption = False) -> None:
    """Take wallets and CIDs off the deny list."""
    from assay_node.protocol.errors import LocalError
    from assay_provider.owner import denials

    if not entries:
        raise LocalError("say whom or what to allow; `assay provider deny` shows the list")
    path = output.settings().provider.home / denials.DENIED_FILE
    _tell(denials.allow(path, entries), "taken off", path, as_json=as_json)


def _await_drained(mine: "ProviderSettings", *, stay: bool) -> None:
    from assay_provider.owner.control import NoDaemon, ask_daemon

    before: tuple[int, int] | None = None
    while True:
        try:
            left = ask_daemon(mine.home, "status")["drain"]
        except NoDaemon:
            return  # it has stopped
        if left is None:
            from assay_node.protocol.errors import Refused

            raise Refused("somebody ended the drain")
        now = (left["running"], left["unsettled"])
        if now != before:
            output.people().print(f"{now[0]} job(s) run, {now[1]} wait to be settled", markup=False)
        if stay and now == (0, 0):
            return
        before = now
        time.sleep(LOOK_S)


def _entries_of(file: Path | None) -> list[str]:
    from assay_provider.owner.denials import read_denied

    if file is None:
        return []
    found = read_denied(file, must_exist=True)
    return [*sorted(found.addresses), *sorted(found.contents)]


def _list(addresses: list[str], contents: list[str], *, as_json: bool) -> None:
    if as_json:
        output.print_json({"addresses": addresses, "contents": contents})
        return
    for entry in (*addresses, *contents):
        output.results().print(entry, markup=False)
    if not addresses and not contents:
        output.people().print("nobody is denied")


def _tell(count: int, what: str, path: Path, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"changed": count, "file": path})
        return
    output.people().print(f"{count} {what} {path}", markup=False)
