"""The demo: a market from nothing, real jobs through the ordinary CLI, a liar caught, all paid."""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from assay_node.devnet.market import LIAR, Market, MarketSettings
from assay_node.devnet.native_control import native_digests
from assay_node.protocol.errors import LocalError
from assay_node.protocol.units import microusd_to_text
from assay_node.services.summary import summary_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How one provider computes exact jobs: what makes native torch round differently."""

    engine: str
    threads: int
    instruction_set: str

    @property
    def settings(self) -> Mapping[str, str]:
        """The provider's settings, as environment variables."""
        return {
            "ASSAY_PROVIDER__EXACT__ENGINE": self.engine,
            "ASSAY_PROVIDER__EXACT__THREADS": str(self.threads),
            "ASSAY_PROVIDER__EXACT__INSTRUCTION_SET": self.instruction_set,
        }

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"engine {self.engine}, {threads}, instruction set {self.instruction_set}"


SETUPS: Final = (
    Setup(engine="auto", threads=2, instruction_set="native"),
    Setup(engine="int8", threads=1, instruction_set="native"),
    Setup(engine="float64", threads=2, instruction_set="avx2"),
    Setup(engine="float64", threads=1, instruction_set="baseline"),
    Setup(engine="float64", threads=2, instruction_set="baseline"),
    Setup(engine="auto", threads=2, instruction_set="native"),
)
"""One a provider, the liar's last. They want compiled kernels for the machine's own instruction set
only, which `make setup` has built: others take a quarter of a minute each. Where the processor does
not do int8 exactly, one provider refuses exact jobs."""
PROVIDERS: Final = len(SETUPS)
LIARS: Final = 1
RATES: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""One small job each. The liar is drawn for half of all jobs, so it is missed in 1 of 2,000 demos;
then more are ordered."""
EXTRA_JOBS_MAX: Final = 10
JOB_S: Final = 300.0
DIGEST_CHARACTERS: Final = 12
BUDGET_USD: Final = "200"
STAGES: Final = (
    ("order admitted", "admitted"),
    ("providers drawn", "drawn"),
    ("leases accepted", "accepted"),
    ("running in the sandbox", "running"),
    ("all replicas committed", "commit_set"),
    ("all replicas revealed", "receipt"),
    ("settled on chain", "settled"),
)

Print = Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Demo:
    """One run. `print_line` gets what a person reads; `run` returns the closing summary.

    `digits` writes the data set into a file. `native_environment` returns the variables under which
    native torch computes as a provider's machine is set up.
    """

    examples: Path
    digits: Callable[[Path], None]
    native_environment: Callable[[Setup], Mapping[str, str]]
    print_line: Print
    block_time_s: float = 0.25
    _started: float = field(default_factory=time.monotonic)

    async def run(self) -> dict[str, Any]:
        """Run the demo in a temporary directory and stop everything it started."""
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-demo-"))
        settings = MarketSettings(
            directory=folder / "market",
            providers=PROVIDERS,
            personas={PROVIDERS: LIAR},
            block_time_s=self.block_time_s,
            provider_environments={n: s.settings for n, s in enumerate(SETUPS, start=1)},
        )
        try:
            self._step("A market on this machine")
            async with Market(settings, tell=self._tell) as market:
                return await self._in(market, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _in(self, market: Market, folder: Path) -> dict[str, Any]:
        self._tell(
            f"{PROVIDERS} providers are connected; {PROVIDERS - LIARS} are honest, one lies "
            f"({market.operators[market.provider(PROVIDERS)]})"
        )
        self._tell("each computes in its own way:")
        for number, setup in enumerate(SETUPS, start=1):
            self.print_line(f"    {market.operators[market.provider(number)]}: {setup}")
        home = folder / "requester"
        self._step("A requester with a wallet")
        requester = await market.new_requester(home, budget_usd=BUDGET_USD)
        self._tell(f"{requester} deposited ${BUDGET_USD} for this scheduler's jobs")

        self._step(
            "A real job: train a network on 1,797 handwritten digits, run by three strangers whose "
            "machines are set up differently"
        )
        digits_job = self._job_folder(folder, "digits")
        (digits,) = await self._submit(market, home, [digits_job])
        self._show_stages(digits)
        self._show(digits)
        accuracy = await self._collect(market, home, digits, folder / "result")
        bits = await self._compare_bits(market, digits, digits_job, folder / "native")

        self._step(f"A batch: {len(RATES)} small jobs of a sweep, ordered at once")
        sweep = [self._job_folder(folder, "sweep", rate) for rate in RATES]
        documents = [digits, *await self._submit(market, home, sweep)]
        extra = 0
        while not _slashed(documents) and extra < EXTRA_JOBS_MAX:
            extra += 1
            self._tell("the draw has spared the liar so far; ordering one job more")
            more = self._job_folder(folder, "sweep", 5.0 + extra)
            documents += await self._submit(market, home, [more])
        for document in documents[1:]:
            self._show(document)
        self._step("What it came to")
        summary = self._summary(documents, accuracy) | bits
        self._show_totals(market, summary)
        return summary

    async def _submit(
        self, market: Market, home: Path, folders: Sequence[Path]
    ) -> list[dict[str, Any]]:
        answer = await market.run_json("submit", *map(str, folders), "--yes", home=home)
        jobs = [job["job"] for job in answer["jobs"]]
        cost = microusd_to_text(answer["max_cost_microusd"])
        self._tell(f"{len(jobs)} admitted, signed with the wallet; at most {cost} in all")
        return [await self._wait(market, job) for job in jobs]

    async def _wait(self, market: Market, job: str) -> dict[str, Any]:
        shown = 0
        try:
            async with asyncio.timeout(JOB_S):
                while True:
                    document: dict[str, Any] = await market.get(f"/v1/jobs/{job}")
                    if document["name"] == "digits":
                        for event in document["events"][shown:]:
                            self._tell(f"{event['kind']}: {event['text']}")
                    shown = len(document["events"])
                    if document["ended"]:
                        return document
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise LocalError(f"job {job} did not end within {JOB_S:.0f} s") from None

    async def _collect(
        self, market: Market, home: Path, document: Mapping[str, Any], target: Path
    ) -> float:
        if document["state"] != "settled" or document["verdict"] != "ok":
            raise LocalError(f"the digits job ended as {document['state']}: {document['reason']}")
        result = await market.run_json("result", document["job"], "-o", str(target), home=home)
        metrics = json.loads((target / "metrics.json").read_text())
        self._tell(f"fetched {result['output']} into {target} and verified every block")
        self._tell(
            f"accuracy {metrics['accuracy']:.1%} on {metrics['test_images']} images not trained on"
        )
        return float(metrics["accuracy"])

    async def _compare_bits(
        self, market: Market, document: Mapping[str, Any], folder: Path, target: Path
    ) -> dict[str, Any]:
        """Show the digests of the honest replicas beside those of native torch."""
        self._step("The same bits on every machine, and what native torch would have given")
        outputs = {r["operator"]: r["output"] for r in document["replica_records"] if r["output"]}
        honest = list(enumerate(SETUPS, start=1))[:-LIARS]
        environments = [self.native_environment(setup) for _, setup in honest]
        native = await native_digests(folder, target, environments)
        exact = []
        for (number, setup), digest in zip(honest, native, strict=True):
            output = outputs.get(market.operators[market.provider(number)])
            exact += [] if output is None else [output]
            shown = "not drawn" if output is None else f"...{output[-DIGEST_CHARACTERS:]}"
            self.print_line(
                f"    exact {shown:<{DIGEST_CHARACTERS + 3}}  "
                f"native {digest[:DIGEST_CHARACTERS]}  {setup}"
            )
        found = {
            "exact_replicas": len(exact),
            "exact_digests": len(set(exact)),
            "native_runs": len(native),
            "native_digests": len(set(native)),
        }
        self._tell(
            f"different digests among {found['exact_replicas']} honest replicas: "
            f"{found['exact_digests']}; among {found['native_runs']} runs of the same program by "
            f"native torch under the same settings: {found['native_digests']}"
        )
        return found

    def _job_folder(self, folder: Path, name: str, rate: float | None = None) -> Path:
        target = folder / "jobs" / (name if rate is None else f"{name}-{rate:g}")
        shutil.copytree(self.examples / name, target)
        self.digits(target / "digits.csv")
        if rate is not None:
            job = target / "job.toml"
            text = job.read_text().replace('name = "sweep"', f'name = "sweep {rate:g}"')
            job.write_text(text.replace('RATE = "0.5"', f'RATE = "{rate:g}"'))
        return target

    def _show_stages(self, document: Mapping[str, Any]) -> None:
        first: dict[str, float] = {}
        for event in document["events"]:
            first.setdefault(event["kind"], event["at"])
        before = None
        self.print_line("    stage                        at       took")
        for label, kind in STAGES:
            at = first.get(kind)
            if at is None:
                continue
            start = first["admitted"]
            took = "" if before is None else f"{at - before:7.2f} s"
            self.print_line(f"    {label:<24} {at - start:7.2f} s {took}")
            before = at

    def _show(self, document: Mapping[str, Any]) -> None:
        for line in summary_lines(dict(document)):
            self.print_line(f"    {line}")

    def _summary(self, documents: Sequence[Mapping[str, Any]], accuracy: float) -> dict[str, Any]:
        settled = [d for d in documents if d["state"] == "settled"]
        settlements = [d["settlement"] for d in documents if d["settlement"] is not None]
        refunded = sum(d["max_cost_microusd"] - (d["cost_microusd"] or 0) for d in documents)
        return {
            "jobs": len(documents),
            "settled": len(settled),
            "replicas": sum(d["replicas"] for d in settled),
            "providers": PROVIDERS,
            "slashed": _slashed(documents),
            "paid_microusd": sum(p["microusd"] for s in settlements for p in s["paid"]),
            "fees_microusd": sum(s["fee_microusd"] for s in settlements),
            "refunded_microusd": refunded,
            "gas_per_job": round(sum(s["gas"] for s in settlements) / max(1, len(settlements))),
            "result_verified": True,
            "accuracy": accuracy,
            "seconds": round(time.monotonic() - self._started, 1),
        }

    def _show_totals(self, market: Market, summary: Mapping[str, Any]) -> None:
        names = {address: name for name, address in market.operators.items()}
        self._tell(f"{summary['settled']} of {summary['jobs']} jobs settled")
        self._tell(f"providers were paid {microusd_to_text(summary['paid_microusd'])}")
        self._tell(
            f"{microusd_to_text(summary['refunded_microusd'])} of the most it could cost was not "
            "spent and stayed with the requester"
        )
        for operator in summary["slashed"]:
            who = names.get(operator, "an unknown operator")
            self._tell(f"slashed: {operator} ({who}), whose answers the quorum contradicted")
        self._tell(f"gas for each job: {summary['gas_per_job']:,}")

    def _step(self, title: str) -> None:
        self.print_line(f"\n== {title}")

    def _tell(self, text: str) -> None:
        self.print_line(f"[{time.monotonic() - self._started:6.1f} s] {text}")


def _slashed(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {
        slashed["operator"]
        for document in documents
        if document["settlement"] is not None
        for slashed in document["settlement"]["slashed"]
    }
    return sorted(found)
