"""What `assay scheduler` does with its bond: each step is said before it is sent."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from assay_node.app import chain_settings
from assay_node.chain.client import open_chain, open_reader
from assay_node.chain.wallet import WalletChain
from assay_node.cli.output import confirm, people, results, spinner
from assay_node.keys import LocalKey
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.evidence import convicted, decode_evidence
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.units import microusd_to_text
from assay_node.settings import Settings

EVIDENCE_BYTES_MAX: Final = 1 << 20
"""Two messages, each far below what the network takes; anything larger is another file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondStatus:
    """What a scheduler has at stake, and at hand; in micro-USD, times are Unix seconds."""

    scheduler: Address
    bond_microusd: int
    leaves_at: int | None
    caught: bool
    free_microusd: int
    tokens_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BondSent:
    """What was mined."""

    scheduler: Address
    bond_microusd: int
    transactions: tuple[Digest, ...]


async def read_bond(settings: Settings, scheduler: Address) -> BondStatus:
    """Read a scheduler's bond.

    Raises:
        ChainUnavailable: the chain does not answer.
    """
    async with open_reader(chain_settings(settings)) as chain:
        bond = await chain.scheduler_bond(scheduler)
        return BondStatus(
            scheduler=scheduler,
            bond_microusd=bond.amount_microusd,
            leaves_at=bond.leaves_at,
            caught=bond.caught,
            free_microusd=(await chain.account(scheduler)).free_microusd,
            tokens_microusd=await chain.token_balance(scheduler),
        )


def show_bond(bond: BondStatus) -> None:
    """Print a bond for a person."""
    say = results().print
    say(f"scheduler {bond.scheduler}")
    say(f"  bond    {microusd_to_text(bond.bond_microusd):>16}  slashed if it assigns a job twice")
    say(
        f"  Vault   {microusd_to_text(bond.free_microusd):>16}  free: fees, and what was taken back"
    )
    say(f"  wallet  {microusd_to_text(bond.tokens_microusd):>16}  tokens, not yet in the market")
    if bond.leaves_at is not None:
        say(f"  notice is given: the bond can be taken back from {_when(bond.leaves_at)} on")
    if bond.caught:
        say("  it contradicted itself and was slashed; only another wallet can bond again")


async def add_bond(
    settings: Settings, amount_microusd: int, unlock: Callable[[], LocalKey], *, confirmed: bool
) -> BondSent:
    """Put more at stake: free money in the Vault first, then tokens of the wallet.

    Raises:
        AssayError: with the step that failed.
    """
    amount = microusd_to_text(amount_microusd)
    async with _open(settings, unlock) as chain:
        missing = amount_microusd - (await chain.account(chain.address)).free_microusd
        steps = [f"bond {amount}"]
        if missing > 0:
            steps.insert(0, f"move {microusd_to_text(missing)} from the wallet into the Vault")
        people().print(
            f"This will {' and '.join(steps)}. It is slashed, all of it, if this scheduler "
            "assigns a job twice."
        )
        confirm("Go on?", yes=confirmed)
        transactions = []
        if missing > 0:
            with spinner("Depositing"):
                transactions.append(await chain.deposit(missing))
        with spinner("Bonding"):
            transactions.append(await chain.bond_scheduler(amount_microusd))
        return await _sent(chain, transactions)


async def release_bond(
    settings: Settings, unlock: Callable[[], LocalKey], *, confirmed: bool
) -> BondSent:
    """Give notice for the bond, or take it back once the notice is over.

    Raises:
        AssayError: nothing is bonded, or the notice runs.
    """
    async with _open(settings, unlock) as chain:
        bond = await chain.scheduler_bond(chain.address)
        if bond.amount_microusd == 0:
            raise LocalError("this scheduler has no bond")
        if bond.leaves_at is None:
            people().print(
                f"This will give notice for the bond of {microusd_to_text(bond.amount_microusd)}. "
                "Providers take no more work that could outlast it; call this again when the "
                "notice is over."
            )
            confirm("Go on?", yes=confirmed)
            with spinner("Giving notice"):
                transaction = await chain.give_scheduler_notice()
            leaves_at = (await chain.scheduler_bond(chain.address)).leaves_at
            assert leaves_at is not None
            people().print(f"Notice is given; the bond is free from {_when(leaves_at)} on.")
            return await _sent(chain, [transaction])
        if (await chain.head()).timestamp < bond.leaves_at:
            raise LocalError(
                f"notice is given; the bond can be taken back from {_when(bond.leaves_at)} on"
            )
        with spinner("Taking the bond back"):
            transaction = await chain.reclaim_scheduler_bond()
        people().print(
            f"{microusd_to_text(bond.amount_microusd)} is free in this scheduler's account."
        )
        return await _sent(chain, [transaction])


async def report_evidence(
    settings: Settings, file: Path, unlock: Callable[[], LocalKey], *, confirmed: bool
) -> BondSent:
    """Take the bond of the scheduler that a file of evidence convicts.

    Raises:
        LocalError: the file convicts nobody of this market.
        ChainError: the chain refuses, say because nothing is bonded any more.
    """
    try:
        with file.open("rb") as opened:
            evidence = decode_evidence(opened.read(EVIDENCE_BYTES_MAX + 1))
    except OSError as error:
        raise LocalError(f"cannot read {file}: {error.strerror}") from None
    except MalformedMessage as error:
        raise LocalError(f"{file} holds no evidence: {error}") from None
    market = chain_settings(settings)
    async with open_reader(market) as reader:
        scheduler = convicted(evidence, reader.domain)
        if scheduler is None:
            raise LocalError(f"{file} shows no scheduler of this market contradicting itself")
        held = (await reader.scheduler_bond(scheduler)).amount_microusd
    people().print(
        f"Scheduler {scheduler} contradicted itself. This will take its bond of "
        f"{microusd_to_text(held)}; all of it goes to the treasury, and you pay for gas."
    )
    confirm("Go on?", yes=confirmed)
    async with open_chain(market, unlock()) as chain:
        with spinner("Reporting"):
            transaction = await chain.report(evidence)
    people().print(f"{microusd_to_text(held)} was slashed.")
    return BondSent(scheduler=scheduler, bond_microusd=0, transactions=(transaction,))


@asynccontextmanager
async def _open(settings: Settings, unlock: Callable[[], LocalKey]) -> AsyncIterator[WalletChain]:
    market = chain_settings(settings)  # a missing deployment is said before a password is typed
    await _check_idle(settings)
    async with open_chain(market, unlock()) as chain:
        for said in await chain.finish_earlier():
            people().print(f"An earlier command had sent something: {said}.")
        yield chain


async def _check_idle(settings: Settings) -> None:
    """Keep this command's nonces from crossing those of settlements that are under way."""
    from assay_node.store.database import is_absent, open_database
    from assay_node.store.scheduler_jobs import SchedulerJobs

    url = settings.scheduler.database_url
    if is_absent(url):
        return
    async with open_database(url, role="scheduler") as database:
        if await SchedulerJobs(database).open_transactions():
            raise LocalError(
                "settlements of this scheduler are under way: let it finish them, stop it, and "
                "repeat this"
            )


async def _sent(chain: WalletChain, transactions: list[Digest]) -> BondSent:
    bond = await chain.scheduler_bond(chain.address)
    return BondSent(
        scheduler=chain.address,
        bond_microusd=bond.amount_microusd,
        transactions=tuple(transactions),
    )


def _when(at: int) -> str:
    left_h = max(0, at - time.time()) / 3600
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC ({left_h:.0f} h from now)"
