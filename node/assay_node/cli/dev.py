"""`assay dev`: the whole market on this machine, for protocol developers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

if TYPE_CHECKING:
    from assay_node.devnet.demo import Setup
    from assay_node.devnet.market import Market

app = typer.Typer(help="Run a whole market on this machine.", no_args_is_help=True)

STATE_FILE = "market.json"
UP_S = 300.0
DOWN_S = 60.0

DirectoryOption = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of the market; by default `dev` in ASSAY_HOME."),
]


@app.command("up")
def up(
    directory: DirectoryOption = None,
    providers: Annotated[int, typer.Option(min=1, max=32, help="Provider daemons.")] = 6,
    liars: Annotated[int, typer.Option(min=0, help="How many of them lie.")] = 1,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks.")] = 0.25,
    chain_port: Annotated[int, typer.Option(help="JSON-RPC port of the chain; 0: any.")] = 8545,
    api_port: Annotated[int, typer.Option(help="Port of the HTTP API; 0: any.")] = 9180,
    as_json: JsonOption = False,
) -> None:
    """Start a market and leave it running: chain, contracts, scheduler, providers, a rich wallet.

    What it wrote is kept by `assay dev down`; the next `up` goes on with the same chain and keys.
    """
    folder = _folder(directory)
    if _running(folder) is None:
        _spawn(folder, providers, liars, block_time, chain_port, api_port)
    state = _state(folder)
    if as_json:
        output.print_json(state)
        return
    results = output.results()
    results.print(f"the market runs in {folder}", markup=False)
    results.print(f"  chain      {state['rpc_url']}", markup=False)
    results.print(f"  scheduler  {state['scheduler']}", markup=False)
    results.print(f"  HTTP API   {state['api_url']}/docs", markup=False)
    results.print("To speak to it from this shell:", markup=False)
    results.print(
        f"  export ASSAY_CONFIG={state['config']} ASSAY_HOME={state['home']}", markup=False
    )
    results.print('  assay submit DIRECTORY --command "python /input/main.py"', markup=False)


@app.command("down")
def down(directory: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Stop the market and every process of it; its chain and keys are kept."""
    folder = _folder(directory)
    pid = _running(folder)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        with output.spinner("stopping the market"):
            _wait(lambda: _running(folder) is None, DOWN_S, "the market does not stop; see its log")
    if as_json:
        output.print_json({"was_running": pid is not None})
    else:
        output.results().print("stopped" if pid is not None else "no market is running")


@app.command("status")
def status(directory: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Show the market's processes and providers."""
    folder = _folder(directory)
    document: dict[str, Any] = {"running": _running(folder) is not None, "directory": str(folder)}
    if document["running"]:
        document |= _state(folder)
        document |= output.run(_listed(document["api_url"]))
    if as_json:
        output.print_json(document)
        return
    results = output.results()
    if not document["running"]:
        results.print("no market is running; `assay dev up` starts one")
        return
    results.print(f"block {document['block']} at {document['rpc_url']}", markup=False)
    for provider in document["providers"]:
        here = "connected" if provider["connected"] else "away"
        results.print(
            f"{provider['operator']}  {here:<9}  {provider['slots_free']} of {provider['slots']} "
            f"slots free  {provider['wins']} wins  {provider['faults']} faults",
            markup=False,
        )


@app.command("logs")
def logs(
    name: Annotated[
        str | None,
        typer.Argument(help="scheduler, provider-1, ... or market.", show_default=False),
    ] = None,
    directory: DirectoryOption = None,
    lines: Annotated[int, typer.Option("-n", help="How many lines.")] = 40,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as they come.")] = False,
) -> None:
    """Print the end of a process's log; without a name, say which there are."""
    from assay_node.protocol.errors import LocalError

    folder = _folder(directory) / "logs"
    if name is None:
        for path in sorted(folder.glob("*.log")):
            output.results().print(path.stem, markup=False)
        return
    path = folder / f"{name}.log"
    if not path.is_file():
        raise LocalError(f"there is no log of {name!r} in {folder}; `assay dev logs` lists them")
    tail = ["tail", "-n", str(lines), *(["-F"] if follow else []), str(path)]
    sys.exit(subprocess.run(tail, check=False).returncode)


@app.command("demo")
def demo(
    block_time: Annotated[float, typer.Option(help="Seconds between blocks.")] = 0.25,
    as_json: JsonOption = False,
) -> None:
    """Run the demo: from nothing to a job ordered, run three times, checked, paid, a liar slashed.

    Its last line is one JSON object.
    """
    from assay_node.devnet.anvil import contracts_folder
    from assay_node.devnet.demo import Demo

    root = contracts_folder().parent

    def print_line(line: str) -> None:
        (sys.stderr if as_json else sys.stdout).write(line + "\n")
        (sys.stderr if as_json else sys.stdout).flush()

    def write_digits(path: Path) -> None:
        script = root / "scripts" / "write_digits.py"
        subprocess.run([sys.executable, str(script), str(path)], check=True)

    run = Demo(
        examples=root / "examples",
        digits=write_digits,
        native_environment=_native_environment,
        print_line=print_line,
        block_time_s=block_time,
    )
    summary = output.run(_until_signal(run.run()))
    sys.stdout.write(json.dumps(summary) + "\n")


def _native_environment(setup: "Setup") -> dict[str, str]:
    """Return what a provider's job would see, for a run of native torch on this machine."""
    import platform

    from assay_provider.runtime.environment import cpu_variables
    from assay_provider.runtime.exact import ExactSetup, variables_under_mode

    machine = platform.machine()
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    chosen = ExactSetup(
        engine=setup.engine, threads=setup.threads, instruction_set=setup.instruction_set
    )
    return variables_under_mode(cpu_variables(machine), own, chosen, machine=machine, cpus=1.0)


@app.command("serve", hidden=True)
def serve(
    directory: Annotated[Path, typer.Argument()],
    providers: Annotated[int, typer.Argument()],
    liars: Annotated[int, typer.Argument()],
    block_time: Annotated[float, typer.Argument()],
    chain_port: Annotated[int, typer.Argument()],
    api_port: Annotated[int, typer.Argument()],
) -> None:
    """Hold a market until SIGTERM; what `up` leaves in the background."""
    from assay_node.devnet.market import LIAR, MarketSettings

    market = MarketSettings(
        directory=directory,
        providers=providers,
        personas={providers - n: LIAR for n in range(liars)},
        block_time_s=block_time,
        chain_port=chain_port,
        api_port=api_port,
    )
    output.run(_until_signal(_serve(market)))


async def _serve(settings: Any) -> None:
    from assay_node.devnet.market import Market

    path = settings.directory / STATE_FILE

    def tell(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    async with Market(settings, tell=tell) as market:
        home = settings.directory / "requester"
        if not (home / "wallets").exists():
            tell("making a requester's wallet")
            await market.new_requester(home)
        _write_state(path, market, home)
        tell("ready")
        try:
            await asyncio.Event().wait()
        finally:
            path.unlink(missing_ok=True)


async def _until_signal(work: Any) -> Any:
    """Run `work` to its end, or until SIGTERM or Ctrl-C; either way it cleans up."""
    from assay_node.cli.daemon import stop_on_signals

    stop = asyncio.create_task(stop_on_signals().wait())
    task = asyncio.create_task(work)
    await asyncio.wait({stop, task}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        raise typer.Exit(0 if stop.cancelled() else 130) from None
    return task.result()


def _spawn(
    folder: Path, providers: int, liars: int, block_time: float, chain_port: int, api_port: int
) -> None:
    from assay_node.private_files import private_directory
    from assay_node.protocol.errors import LocalError

    if liars > providers:
        raise LocalError(f"{liars} liars among {providers} providers; lower --liars")
    private_directory(folder)
    (folder / "logs").mkdir(exist_ok=True)
    log = folder / "logs" / "market.log"
    numbers = [str(n) for n in (providers, liars, block_time, chain_port, api_port)]
    arguments = [sys.executable, "-m", "assay_node", "dev", "serve", str(folder), *numbers]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    (folder / "pid").write_text(f"{process.pid} {_start_time(process.pid)}")
    with output.spinner("starting the market (the first time compiles the contracts)"):
        deadline = time.monotonic() + UP_S
        while not (folder / STATE_FILE).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace").strip()[-800:]
                raise LocalError(f"the market did not start: {tail}")
            time.sleep(0.1)


def _write_state(path: Path, market: "Market", home: Path) -> None:
    state = {
        "rpc_url": market.rpc_url,
        "scheduler": market.scheduler_address,
        "api_url": market.api_url,
        "config": str(market.config),
        "home": str(home),
        "operators": market.operators,
    }
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(state, indent=1))
    unfinished.rename(path)


async def _listed(api_url: str) -> dict[str, Any]:
    import httpx

    from assay_node.protocol.errors import LocalError

    try:
        async with httpx.AsyncClient(base_url=api_url, timeout=10.0) as http:
            health = (await http.get("/healthz")).json()
            providers = (await http.get("/v1/providers")).json()
    except httpx.HTTPError:
        raise LocalError("the scheduler does not answer; see `assay dev logs scheduler`") from None
    return {"block": health.get("block"), "providers": providers["providers"]}


def _folder(directory: Path | None) -> Path:
    from assay_node.settings import assay_home

    return (directory or assay_home() / "dev").expanduser().absolute()


def _state(folder: Path) -> dict[str, Any]:
    _wait((folder / STATE_FILE).exists, UP_S, "the market is not ready; see its log")
    state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text())
    return state


def _running(folder: Path) -> int | None:
    """Return the pid of a folder's market; a pid that now belongs to another process is none."""
    try:
        pid, started = (folder / "pid").read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if _start_time(int(pid)) == started else None


def _start_time(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]  # starttime, proc(5)


def _wait(condition: Any, seconds: float, otherwise: str) -> None:
    from assay_node.protocol.errors import LocalError

    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LocalError(otherwise)
        time.sleep(0.1)
