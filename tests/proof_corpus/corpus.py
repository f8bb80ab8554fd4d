"""Measures how often each cheat of the corpus passes, and honest work fails; writes the page.

`make proof-corpus` runs it, some ten minutes on one core. The same seed gives the same page.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # for small matrices threads cost more than they do

from assay_node.protocol.hardware_proof import ProofVerdict
from tests.proof_corpus import timing
from tests.proof_corpus.cheats import CHEATS, CONTROLS, HONEST, Cheat
from tests.proof_corpus.rounds import Rounds, upper_bound

PAGE: Final = Path(__file__).parents[2] / "docs" / "hardware-proof-corpus.md"
SEED: Final = 1
SIZE, WORKS = 256, 34
VIRTUAL_ROUNDS: Final = 20_000
STANDING_PROVIDERS: Final = 2000
STANDING_ROUNDS: Final = 28
"""A week at the default of a proof every six hours."""

HEAD = """<!-- Written by `make proof-corpus`; do not edit. -->
# How often cheats pass the proof of hardware

Rates of [the proof](protocol/hardware-proof.md), measured by `make proof-corpus`. The cheats are in
`tests/proof_corpus`, a few rounds of each are among the tests. A *false accept* is a round in which
a cheat was proven, a *false reject* one in which honest work was not. Bounds are one-sided, at 95 %
confidence (Clopper and Pearson).

## Cheats with the arithmetic

Real products, real commitments, the scheduler's verifier; matrices of side {size}, {works} products
a round, {rows} rows opened. A cheat's chance depends on the share of rows that are right and on the
number opened, not on the side. Time is left out here: every cheat is as fast as it likes.

| cheat | what it does | what it would gain | rounds | false accepts | rate at most | found as |
|---|---|---|---|---|---|---|
"""

HONEST_HEAD = """
## Honest work, and cheats' provers that leave nothing out

| prover | rounds | false rejects | rate at most |
|---|---|---|---|
"""

ROWS_HEAD = """
## How many rows must be opened

Rounds in which a worker that leaves out random rows was proven, of {rounds} each.

| rows opened | 90 % worker | 97 % worker | 99 % worker |
|---|---|---|---|
"""

TIME_HEAD = """
## Time, on a virtual clock

A device is a speed, hashing takes {hashing:.0%} on top, the network a round trip of 60 ms (95 %
below {network} ms) or what is said, and a round's speed wobbles normally by 1 % or what is said;
{rounds:,} rounds each. A failure makes a provider asked again within minutes, three in a row
disprove it: the last column is the share of {providers:,} providers to which that happens within
{week} rounds, a week at the default interval. Wobbles of rounds that follow each other are taken as
independent here; a machine that stays slow for an hour fails each time.

| provider | fails a round | disproved within a week |
|---|---|---|
"""

PAIR_HEAD = """
## One device behind two operators

Asked apart, both pass. They are found out when a round takes both; rounds are random, so that takes
time, which grows with how many others of the class there are. At a mean of six hours between a
provider's proofs, days until both were in one round, {trials} trials:

| providers of the class | asked together | median | 90 % within |
|---|---|---|---|
"""

TAIL = """
## What this does not find out

- A *proxy* to a machine that is as fast, belongs to nobody else at that moment and is not too far
  away. What was asked for was computed, by hardware that this provider commands. It fails as soon
  as the machine behind it is shared, slower, or far enough for the round trips to count.
- A worker that leaves out 1 % of the rows passes now and then; it gains 1 %.
- Up to a tenth more advertised than there is, less what hashing takes: that is the margin without
  which honest machines would fail.
- Faster algorithms than the schoolbook's: one level of Strassen's saves an eighth of the
  multiplications, exactly. It is work on the hardware that is there, counted as an eighth more.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="rounds of each cheat")
    rounds = parser.parse_args().rounds
    PAGE.write_text("".join(page(rounds)))
    sys.stdout.write(f"wrote {PAGE.relative_to(PAGE.parents[1])}\n")


def page(count: int) -> Iterator[str]:
    """Yield the page, part by part."""
    rounds = Rounds(size=SIZE, works=WORKS, seed=SEED)
    yield HEAD.format(size=SIZE, works=WORKS, rows=256)
    for cheat in CHEATS:
        yield _cheat_row(cheat, rounds.verdicts(cheat, _trials(cheat, count)))
    yield HONEST_HEAD
    for control in (HONEST, *CONTROLS):
        trials = count if control is HONEST else max(1, count // 3)
        found = rounds.verdicts(control, trials)
        failed = sum(verdict is not ProofVerdict.PROVEN for verdict in found)
        yield f"| {control.name} | {trials} | {failed} | {_rate(upper_bound(failed, trials))} |\n"
    yield from _rows_table(count)
    yield from _time_table()
    yield from _pair_table()
    yield TAIL


def _cheat_row(cheat: Cheat, found: Sequence[ProofVerdict]) -> str:
    accepted = sum(verdict is ProofVerdict.PROVEN for verdict in found)
    others = sorted({verdict.value for verdict in found} - {ProofVerdict.PROVEN.value})
    bound = _rate(upper_bound(accepted, len(found)))
    sys.stdout.write(f"{cheat.name}: {accepted} of {len(found)} rounds passed\n")
    sys.stdout.flush()
    return (
        f"| {cheat.name} | {cheat.how} | {cheat.gain} | {len(found)} | {accepted} | {bound} "
        f"| {', '.join(others)} |\n"
    )


def _trials(cheat: Cheat, count: int) -> int:
    if "low rank" in cheat.name:
        return max(1, count // 30)  # a singular value decomposition for each product
    return 3 * count if cheat.caught < 1 else count


def _rows_table(count: int) -> Iterator[str]:
    yield ROWS_HEAD.format(rounds=count)
    workers = [cheat for cheat in CHEATS if cheat.name.endswith("rows")]
    for rows in (64, 128, 256):
        rounds = Rounds(size=SIZE, works=WORKS, seed=SEED, rows=rows)
        accepted = [rounds.verdicts(cheat, count).count(ProofVerdict.PROVEN) for cheat in workers]
        yield f"| {rows} | {' | '.join(map(str, accepted))} |\n"


def _time_table() -> Iterator[str]:
    yield TIME_HEAD.format(
        hashing=timing.HASHING,
        network=160,
        rounds=VIRTUAL_ROUNDS,
        providers=STANDING_PROVIDERS,
        week=STANDING_ROUNDS,
    )
    for behaviour in (*timing.HONEST, *timing.CHEATS, *timing.PROXIES):
        found = timing.verdicts(behaviour, VIRTUAL_ROUNDS, seed=SEED)
        failed = sum(verdict is not ProofVerdict.PROVEN for verdict in found) / len(found)
        disproved = timing.disproved_share(
            behaviour, STANDING_PROVIDERS, rounds=STANDING_ROUNDS, seed=SEED
        )
        yield f"| {behaviour.name} | {failed:.2%} | {disproved:.2%} |\n"


def _pair_table() -> Iterator[str]:
    trials = 100
    yield PAIR_HEAD.format(trials=trials)
    for providers, together in ((2, 8), (10, 8), (50, 8), (50, 20), (500, 8), (500, 50)):
        days = timing.days_until_together(
            providers=providers, together=together, seed=SEED, trials=trials
        )
        median, most = days[len(days) // 2], days[int(0.9 * len(days))]
        yield f"| {providers} | {together} | {median:.1f} days | {most:.1f} days |\n"


def _rate(share: float) -> str:
    return f"{share:.2%}" if share >= 0.001 else f"{share:.3%}"


if __name__ == "__main__":
    main()
