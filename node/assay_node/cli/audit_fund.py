"""What `assay scheduler fund` does: what pays for the audits of a scheduler's jobs."""

from collections.abc import Callable
from dataclasses import dataclass

from assay_node.app import chain_settings
from assay_node.chain.client import open_chain, open_reader
from assay_node.cli.output import confirm, people, results, spinner
from assay_node.keys import LocalKey
from assay_node.ports import AuditFund
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.units import microusd_to_text
from assay_node.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class FundChanged:
    """What was mined, and what the fund holds after it."""

    scheduler: Address
    fund_microusd: int
    transactions: tuple[Digest, ...]


async def read_fund(settings: Settings, scheduler: Address) -> AuditFund:
    """Read a scheduler's fund.

    Raises:
        ChainUnavailable: the chain does not answer.
    """
    async with open_reader(chain_settings(settings)) as chain:
        return await chain.audit_fund(scheduler)


def show_fund(scheduler: Address, fund: AuditFund) -> None:
    """Print a fund for a person."""
    say = results().print
    say(f"the audits of scheduler {scheduler}'s jobs are paid from")
    say(f"  {microusd_to_text(fund.microusd):>16}  fees of jobs with audits, and what was given")
    say(f"  {microusd_to_text(fund.settled_microusd):>16}  of it can be taken out")


async def add_to_fund(
    settings: Settings,
    scheduler: Address,
    amount_microusd: int,
    unlock: Callable[[], LocalKey],
    *,
    confirmed: bool,
) -> FundChanged:
    """Give money to a scheduler's fund: free money in the Vault first, then the wallet's tokens.

    Raises:
        AssayError: with the step that failed.
    """
    market = chain_settings(settings)  # a missing deployment is said before a password is typed
    async with open_chain(market, unlock()) as chain:
        for said in await chain.finish_earlier():
            people().print(f"An earlier command had sent something: {said}.")
        missing = amount_microusd - (await chain.account(chain.address)).free_microusd
        steps = [f"give {microusd_to_text(amount_microusd)} to the audits of {scheduler}'s jobs"]
        if missing > 0:
            steps.insert(0, f"move {microusd_to_text(missing)} from the wallet into the Vault")
        people().print(f"This will {' and '.join(steps)}. Only the scheduler can take it out.")
        confirm("Go on?", yes=confirmed)
        transactions = []
        if missing > 0:
            with spinner("Depositing"):
                transactions.append(await chain.deposit(missing))
        with spinner("Adding to the fund"):
            transactions.append(await chain.add_to_audit_fund(scheduler, amount_microusd))
        fund = await chain.audit_fund(scheduler)
    return FundChanged(
        scheduler=scheduler, fund_microusd=fund.microusd, transactions=tuple(transactions)
    )


async def take_out_of_fund(
    settings: Settings, scheduler: Address, unlock: Callable[[], LocalKey], *, confirmed: bool
) -> FundChanged:
    """Have the scheduler paid what its fund has held for long enough; anybody may.

    Raises:
        AssayError: nothing can be taken out, or the chain refuses.
    """
    market = chain_settings(settings)
    async with open_reader(market) as reader:
        there = (await reader.audit_fund(scheduler)).settled_microusd
    if there == 0:
        raise LocalError(
            "nothing can be taken out of the fund yet: what came in stays for a full day (UTC), in "
            "which jobs can still be drawn for audits"
        )
    people().print(f"This will pay {microusd_to_text(there)} to the account of {scheduler}.")
    confirm("Go on?", yes=confirmed)
    async with open_chain(market, unlock()) as chain:
        for said in await chain.finish_earlier():
            people().print(f"An earlier command had sent something: {said}.")
        with spinner("Taking it out"):
            transaction = await chain.withdraw_audit_fund(scheduler)
        fund = await chain.audit_fund(scheduler)
    return FundChanged(
        scheduler=scheduler, fund_microusd=fund.microusd, transactions=(transaction,)
    )
