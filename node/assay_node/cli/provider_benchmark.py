"""`assay provider benchmark`: measure this machine for the offer."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay_node.cli import output
from assay_node.cli.output import JsonOption

if TYPE_CHECKING:
    from assay_node.settings import ProviderSettings
    from assay_provider.inventory.benchmark.report import Measured

app = typer.Typer()


@app.command("benchmark")
def benchmark(
    quick: Annotated[
        bool, typer.Option("--quick", help="A look of seconds; it is neither kept nor offered.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Measure although jobs run, which slows both.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what this machine sustains: products, memory, copies, disk; the daemon offers it.

    Each figure is the median of several windows after a warm-up, minutes in all. Schedulers compare
    the offer with proofs of the hardware, so measure while nothing else runs.
    """
    output.run(_benchmark(output.settings().provider, quick=quick, force=force, as_json=as_json))


async def _benchmark(mine: "ProviderSettings", *, quick: bool, force: bool, as_json: bool) -> None:
    from assay_node.private_files import private_directory
    from assay_provider.inventory.benchmark.for_sale import gpus_for_sale
    from assay_provider.inventory.benchmark.record import keep
    from assay_provider.inventory.benchmark.report import to_document
    from assay_provider.inventory.benchmark.running import run_benchmark
    from assay_provider.inventory.machine import detect_machine

    people = output.people()
    is_up = _check_idle(mine, force=force)
    home = private_directory(mine.home)
    measured = await run_benchmark(
        home,
        detect_machine(home),
        gpus_for_sale(mine),
        quick=quick,
        tell=lambda sentence: people.print(sentence, markup=False),
    )
    kept = None if quick else keep(home, measured)
    if as_json:
        output.print_json({**to_document(measured), "file": kept})
        return
    for line in benchmark_lines(measured):
        output.results().print(line, markup=False)
    if kept is None:
        people.print("a quick look is not kept; without --quick the daemon offers the figures")
        return
    after = "after its next start" if is_up else "when it starts"
    people.print(f"kept in {kept}; the daemon offers it {after}", markup=False)


def benchmark_lines(measured: "Measured") -> list[str]:
    """Return figures in words."""
    from assay_node.protocol.units import size_to_text
    from assay_provider.inventory.benchmark.measuring import product_text

    lines = []
    for name, device in zip(measured.names, measured.benchmark.devices, strict=True):
        lines.append(name)
        lines += [
            f"  {dtype:<10} {product_text(dtype, figure)}"
            for dtype, figure in device.gemm_mflops.items()
        ]
        lines.append(f"  {'memory':<10} {_rate(device.memory_bytes_per_second)}")
        lines.append(f"  {'filled':<10} {size_to_text(device.memory_bytes)} written and read back")
        if device.host_to_device_bytes_per_second:
            lines.append(
                f"  {'copies':<10} {_rate(device.host_to_device_bytes_per_second)} to it, "
                f"{_rate(device.device_to_host_bytes_per_second)} from it"
            )
    found = measured.benchmark
    if found.disk_read_bytes_per_second:
        lines.append("disk")
        lines.append(f"  {'read':<10} {_rate(found.disk_read_bytes_per_second)}")
        lines.append(f"  {'write':<10} {_rate(found.disk_write_bytes_per_second)}")
    return [*lines, *(f"note: {remark}" for remark in measured.remarks)]


def _rate(bytes_per_second: int) -> str:
    if bytes_per_second >= 1e9:
        return f"{bytes_per_second / 1e9:.3g} GB/s"
    return f"{bytes_per_second / 1e6:.3g} MB/s"


def _check_idle(mine: "ProviderSettings", *, force: bool) -> bool:
    """Refuse to measure beside jobs; return whether a daemon runs."""
    from assay_node.protocol.errors import LocalError
    from assay_provider.owner.control import NoDaemon, ask_daemon

    try:
        daemon: dict[str, Any] = ask_daemon(mine.home, "status")
    except NoDaemon:
        return False
    held = daemon["slots"]["held"]
    if held and not force:
        raise LocalError(
            f"{held} job(s) run here, and would be measured too; first: "
            "assay provider drain --stay --wait"
        )
    if daemon["refusing"] is None:
        output.people().print(
            "a job that comes meanwhile falsifies the figures; to keep them away: "
            "assay provider drain --stay, and afterwards assay provider resume"
        )
    return True
