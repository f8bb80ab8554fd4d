"""What `assay wallet` does with money: each step is said before it is sent."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from assay_node.app import chain_settings, open_requester
from assay_node.chain.client import open_chain, open_reader
from assay_node.chain.refusals import ContractRefusal
from assay_node.chain.wallet import WalletChain
from assay_node.cli.output import confirm, people, results, spinner
from assay_node.keys import LocalKey
from assay_node.protocol.errors import AssayError, LocalError, RemoteError
from assay_node.protocol.ids import Address, Digest, address
from assay_node.protocol.units import microusd_to_text
from assay_node.settings import Settings

WEI_PER_ETH: Final = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an address holds, in micro-USD but for `wei`. A budget is None when it is not known."""

    address: Address
    tokens_microusd: int
    wei: int
    free_microusd: int
    stake_microusd: int
    wins: int
    faults: int
    scheduler: Address | None
    budget_microusd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """What `assay wallet deposit` was asked for."""

    amount_microusd: int
    scheduler: str | None
    into_budget: bool
    from_free: bool
    to: Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What `assay wallet withdraw` was asked for."""

    amount_microusd: int | None
    everything: bool
    to: Address | None
    from_budget: bool
    scheduler: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was mined."""

    address: Address
    scheduler: Address | None
    amount_microusd: int
    transactions: tuple[Digest, ...]


async def read_balance(settings: Settings, owner: Address, scheduler: str | None) -> Balance:
    """Read everything an address has in this market.

    Raises:
        ChainUnavailable: the chain does not answer.
        RemoteError: `scheduler` was named and cannot be reached.
    """
    async with open_reader(chain_settings(settings)) as chain:
        account = await chain.account(owner)
        paid = await _scheduler_for_balance(settings, scheduler)
        return Balance(
            address=owner,
            tokens_microusd=await chain.token_balance(owner),
            wei=await chain.eth_balance(owner),
            free_microusd=account.free_microusd,
            stake_microusd=account.stake_microusd,
            wins=account.wins,
            faults=account.faults,
            scheduler=paid,
            budget_microusd=None if paid is None else await chain.budget(owner, paid),
        )


def show_balance(balance: Balance) -> None:
    """Print a balance for a person."""
    lines = [
        ("wallet", microusd_to_text(balance.tokens_microusd), "tokens, not yet in the market"),
        ("", f"{balance.wei / WEI_PER_ETH:.6f} ETH", "to pay for transactions"),
        ("Vault", microusd_to_text(balance.free_microusd), "free"),
    ]
    if balance.budget_microusd is not None:
        text = f"budget for scheduler {balance.scheduler}"
        lines.append(("", microusd_to_text(balance.budget_microusd), text))
    lines.append(("", microusd_to_text(balance.stake_microusd), "stake"))
    results().print(balance.address)
    for place, amount, meaning in lines:
        results().print(f"  {place:<8}{amount:>16}  {meaning}")
    if balance.wins or balance.faults:
        results().print(f"  {balance.wins} jobs won, {balance.faults} faults")


async def make_deposit(
    settings: Settings, wanted: Deposit, unlock: Callable[[], LocalKey], *, confirmed: bool
) -> Sent:
    """Move tokens into the Vault and into a budget.

    Raises:
        AssayError: with the step that failed, and where the money is.
    """
    market = chain_settings(settings)  # a missing deployment is said before a password is typed
    scheduler = await _scheduler(settings, wanted.scheduler) if wanted.into_budget else None
    amount = microusd_to_text(wanted.amount_microusd)
    deposit = f"move {amount} from your wallet into the Vault{_account_of(wanted.to)}"
    steps = [] if wanted.from_free else [deposit]
    if scheduler is not None:
        steps.append(f"set {amount} aside for the orders of scheduler {scheduler}")
    people().print("This will " + " and ".join(steps) + ".")
    confirm("Go on?", yes=confirmed)
    key = unlock()
    async with open_chain(market, key) as chain:
        await stop_if_cut_short(chain)
        transactions = []
        if not wanted.from_free:
            with spinner("Depositing"):
                transactions.append(await chain.deposit(wanted.amount_microusd, to=wanted.to))
            people().print(f"{amount} is in the Vault.")
        if scheduler is not None:
            transactions.append(await _fund(chain, scheduler, wanted))
            people().print(f"{amount} is set aside for scheduler {scheduler}.")
    return Sent(
        address=key.address,
        scheduler=scheduler,
        amount_microusd=wanted.amount_microusd,
        transactions=tuple(transactions),
    )


def _account_of(other: Address | None) -> str:
    return "" if other is None else f", for the account of {other}, which alone can take it out"


async def make_withdrawal(
    settings: Settings, wanted: Withdrawal, unlock: Callable[[], LocalKey], *, confirmed: bool
) -> Sent:
    """Take a budget back, or give notice for it, and send free money to the wallet.

    Raises:
        AssayError: nothing is free, or the chain refuses.
    """
    market = chain_settings(settings)
    scheduler = await _scheduler(settings, wanted.scheduler) if wanted.from_budget else None
    key = unlock()
    transactions: list[Digest] = []
    amount = 0
    async with open_chain(market, key) as chain:
        await stop_if_cut_short(chain)
        if scheduler is not None:
            transactions += await _release_budget(chain, scheduler, confirmed=confirmed)
        if wanted.everything or wanted.amount_microusd is not None:
            amount = await _amount(chain, wanted)
            receiver = wanted.to or key.address
            people().print(f"This will send {microusd_to_text(amount)} to {receiver}.")
            confirm("Go on?", yes=confirmed)
            with spinner("Withdrawing"):
                transactions.append(await chain.withdraw(amount, to=wanted.to))
            people().print(f"{microusd_to_text(amount)} is at {receiver}.")
    return Sent(
        address=key.address,
        scheduler=scheduler,
        amount_microusd=amount,
        transactions=tuple(transactions),
    )


async def stop_if_cut_short(chain: WalletChain) -> None:
    """Stop where an earlier command was cut short: repeating it blindly would move money twice.

    Raises:
        LocalError: one was; the text says what it had sent.
    """
    with spinner("Looking for what an earlier command sent"):
        earlier = await chain.finish_earlier()
    if earlier:
        raise LocalError(
            f"an earlier command was cut short before it saw the end of: {', '.join(earlier)}. "
            "Nothing new was sent: look at `assay wallet balance`, then repeat this if it is "
            "still wanted"
        )


async def _fund(chain: WalletChain, scheduler: Address, wanted: Deposit) -> Digest:
    try:
        with spinner("Setting it aside"):
            return await chain.fund_budget(scheduler, wanted.amount_microusd)
    except AssayError as error:
        if wanted.from_free:
            raise
        raise LocalError(
            f"{error}; the deposit itself is safe and free in the Vault: "
            "repeat this with --from-free, or take it back with `assay wallet withdraw`"
        ) from None


async def _release_budget(
    chain: WalletChain, scheduler: Address, *, confirmed: bool
) -> list[Digest]:
    """Reclaim a budget whose notice is over; otherwise give notice and say until when."""
    held = await chain.budget(chain.address, scheduler)
    if held == 0:  # closed already, or never there: the contract knows, and says until when
        with spinner("Taking the budget back"):
            transaction = await chain.reclaim_budget(scheduler)
        people().print("The budget is free money again.")
        return [transaction]
    people().print(
        f"This will give notice for the budget of {microusd_to_text(held)} for scheduler "
        f"{scheduler}. Until the notice is over it pays for orders already signed; new orders "
        "are not taken."
    )
    confirm("Go on?", yes=confirmed)
    with spinner("Giving notice"):
        transaction = await chain.close_budget(scheduler)
    try:
        await chain.reclaim_budget(scheduler)
    except ContractRefusal as refusal:  # expected: its sentence has the time
        people().print(f"Notice is given. For now, {refusal}.")
    return [transaction]


async def _amount(chain: WalletChain, wanted: Withdrawal) -> int:
    free = (await chain.account(chain.address)).free_microusd
    amount = free if wanted.amount_microusd is None else wanted.amount_microusd
    if free == 0 or amount > free:
        raise LocalError(
            f"{microusd_to_text(free)} is free in the Vault; what is set aside for a scheduler "
            "becomes free after a notice, which `assay wallet withdraw --budget` gives"
        )
    return amount


async def _scheduler(settings: Settings, named: str | None) -> Address:
    """Return the wallet of a scheduler, asking the scheduler itself when it goes by multiaddr."""
    if named is not None and named.startswith("0x"):
        return address(named)
    if named is not None:
        section = settings.requester.model_copy(update={"scheduler": named})
        settings = settings.model_copy(update={"requester": section})
    if settings.requester.scheduler is None:
        raise LocalError(
            "no scheduler is configured: name one with --scheduler, or use --no-budget"
        )
    with spinner("Asking the scheduler for its terms"):
        async with open_requester(settings) as requester:
            return (await requester.terms()).scheduler


async def _scheduler_for_balance(settings: Settings, named: str | None) -> Address | None:
    if named is None and settings.requester.scheduler is None:
        return None
    try:
        return await _scheduler(settings, named)
    except RemoteError as error:
        if named is not None:
            raise
        people().print(f"The budget is not shown: {error}")
        return None
