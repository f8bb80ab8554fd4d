"""What `assay lease` does with leases on the chain: each step is said before it is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from assay_node.app import chain_settings
from assay_node.chain.client import open_chain, open_reader
from assay_node.chain.reader import MarketReader
from assay_node.chain.service_leases import LeasePayment, LeaseState
from assay_node.chain.wallet import WalletChain
from assay_node.cli.lease_terms import (
    TermsFile,
    Unlock,
    check_startable,
    checked,
    lines,
    read_terms,
    say_terms,
    when,
)
from assay_node.cli.output import confirm, people, results, spinner
from assay_node.cli.wallet_money import stop_if_cut_short
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest, digest_from_hex, to_hex
from assay_node.protocol.service_terms import RunningLease, lease_id
from assay_node.protocol.units import microusd_to_text
from assay_node.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseShown:
    """Terms, where they are known, and where their lease stands. Times are Unix seconds.

    `due_microusd` is what operator and scheduler have earned and have not been paid, `ends_at` when
    the lease is over if nobody tops it up or stops it.
    """

    lease: Digest
    state: str
    terms: TermsFile | None
    books: RunningLease | None
    ends_at: int | None
    is_over: bool
    due_microusd: int
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSent:
    """What was mined; amounts are those of this transaction."""

    lease: Digest
    transaction: Digest
    paid_microusd: int
    fee_microusd: int
    refund_microusd: int | None
    ends_at: int | None


async def start_lease(
    settings: Settings, file: Path, unlock: Unlock, *, confirmed: bool
) -> LeaseSent:
    """Start a lease, with whatever signatures the file has.

    Raises:
        AssayError: a side has neither signed nor sends this, or the contract refuses.
    """
    signed = read_terms(file)
    terms = signed.terms
    async with _open(settings, unlock) as chain:
        found = await checked(chain, signed)
        await check_startable(chain, found)
        lease = found.lease
        say_terms(terms)
        whose = "your" if chain.address == terms.requester else "the requester's"
        people().print(
            f"This will set {microusd_to_text(terms.escrow_microusd)} of {whose} free money aside; "
            "the clock runs from then on."
        )
        confirm("Start the lease?", yes=confirmed)
        with spinner("Starting the lease"):
            transaction = await chain.service_leases.start(signed)
        people().print(f"lease {to_hex(lease)} has started")
        return await _sent(chain, lease, LeasePayment(transaction=transaction))


async def cancel_lease(
    settings: Settings, file: Path, unlock: Unlock, *, confirmed: bool
) -> LeaseSent:
    """Make terms worthless that nobody has started."""
    terms = read_terms(file).terms
    async with _open(settings, unlock) as chain:
        lease = lease_id(terms, chain.leases_domain)
        people().print(f"This will make the terms of lease {to_hex(lease)} worthless for good.")
        confirm("Cancel them?", yes=confirmed)
        with spinner("Cancelling"):
            transaction = await chain.service_leases.cancel(terms)
        people().print("nobody can start them any more")
        return await _sent(chain, lease, LeasePayment(transaction=transaction))


async def top_up_lease(
    settings: Settings, named: str, amount_microusd: int, unlock: Unlock, *, confirmed: bool
) -> LeaseSent:
    """Add free money of this wallet to a lease.

    Raises:
        AssayError: it is over, or the money is not there.
    """
    async with _open(settings, unlock) as chain:
        lease, books, now = await _open_books(chain, named)
        longer = replace(books, escrow_microusd=books.escrow_microusd + amount_microusd)
        people().print(
            f"This will add {microusd_to_text(amount_microusd)} to lease {to_hex(lease)}, which "
            f"then ends at {when(longer.ends_at)} instead of {when(books.ends_at)}. What is left "
            f"in the end goes to the requester, {books.requester}."
        )
        if longer.ends_at == books.ends_at and books.ends_at > now:
            people().print("Note: it was stopped, so more money does not make it longer.")
        confirm("Go on?", yes=confirmed)
        with spinner("Topping up"):
            transaction = await chain.service_leases.top_up(lease, amount_microusd)
        return await _sent(chain, lease, LeasePayment(transaction=transaction))


async def pay_lease(
    settings: Settings, named: str, unlock: Unlock, *, confirmed: bool
) -> LeaseSent:
    """Pay what has been earned, and end a lease that is over."""
    async with _open(settings, unlock) as chain:
        lease, books, now = await _open_books(chain, named)
        earned, fee = map(microusd_to_text, books.due_at(now))
        if now >= books.ends_at:
            what = f"pays the operator {earned} and the scheduler {fee}; the rest goes back"
        else:
            what = f"pays the operator {earned} and the scheduler {fee}, and what is earned by then"
        people().print(f"This {what}.")
        confirm("Go on?", yes=confirmed)
        with spinner("Paying"):
            paid = await chain.service_leases.settle(lease)
        return await _sent(chain, lease, paid)


async def stop_lease(
    settings: Settings, named: str, unlock: Unlock, *, confirmed: bool
) -> LeaseSent:
    """End a lease, in the way of whichever side this wallet is.

    Raises:
        AssayError: it is neither, or the lease is over or stopped already.
    """
    async with _open(settings, unlock) as chain:
        lease, books, now = await _open_books(chain, named)
        if chain.address == books.requester:
            until = min(books.ends_at, now + books.notice_s)
            more = sum(books.due_at(until)) - sum(books.due_at(now))
            people().print(
                f"This gives notice: the lease ends at {when(until)} at the latest and costs "
                f"{microusd_to_text(more)} from now until then."
            )
        elif chain.address not in (books.operator, await chain.signer_of(books.operator)):
            raise LocalError(
                f"{chain.address} is neither the requester {books.requester} nor the operator "
                f"{books.operator}, nor its signing key"
            )
        else:
            left = books.left_at(now)
            people().print(
                "This ends the lease at once: the operator is paid to this second, and "
                f"{microusd_to_text(left)} or a little less goes back to the requester."
            )
        confirm("Stop the lease?", yes=confirmed)
        with spinner("Stopping"):
            paid = await chain.service_leases.stop(lease)
        return await _sent(chain, lease, paid)


# --- reading ----------------------------------------------------------------------------------


async def read_lease(settings: Settings, named: str) -> LeaseShown:
    """Read where a lease stands, with its terms if `named` is the file that has them.

    Raises:
        LocalError: `named` is neither a file with terms nor a lease's id.
    """
    async with open_reader(chain_settings(settings)) as chain:
        if _is_id(named):
            return await _shown(chain, digest_from_hex(named), None)
        terms = await checked(chain, read_terms(Path(named)))
        return await _shown(chain, terms.lease, terms)


def show_lease(found: LeaseShown) -> None:
    """Print a lease for a person."""
    say = results().print
    say(f"lease {to_hex(found.lease)}")
    if found.terms is not None:
        for line in lines(found.terms.terms):
            say(f"  {line}")
        say(f"  {_signers(found.terms)}")
    if found.books is None:
        what = {"unknown": "not started", "ended": "ended, or cancelled"}[found.state]
        say(f"  {what}")
        return
    books = found.books
    say(f"  requester {books.requester}, operator {books.operator}")
    say(f"  paid until {when(books.paid_until)}; {microusd_to_text(found.due_microusd)} is due")
    say(f"  {microusd_to_text(books.left_at(found.now))} would go back if it ended now")
    if found.is_over:
        say(f"  over since {when(books.ends_at)}; `assay lease pay` has everybody paid")
        return
    why = "it was stopped" if books.ends_at == books.stops_at else "then the money has run out"
    say(f"  ends at {when(books.ends_at)}: {why}")


async def _shown(chain: MarketReader, lease: Digest, terms: TermsFile | None) -> LeaseShown:
    standing = await chain.service_lease(lease)
    books, now = standing.books, standing.now
    return LeaseShown(
        lease=lease,
        state=standing.state.value,
        terms=terms,
        books=books,
        ends_at=None if books is None else books.ends_at,
        is_over=books is not None and now >= books.ends_at,
        due_microusd=0 if books is None else sum(books.due_at(now)),
        now=now,
    )


async def _open_books(chain: MarketReader, named: str) -> tuple[Digest, RunningLease, int]:
    if _is_id(named):
        lease = digest_from_hex(named)
    else:
        lease = lease_id(read_terms(Path(named)).terms, chain.leases_domain)
    standing = await chain.service_lease(lease)
    if standing.books is None:
        raise LocalError(
            f"lease {to_hex(lease)} has not started"
            if standing.state is LeaseState.UNKNOWN
            else f"lease {to_hex(lease)} has ended, or was cancelled"
        )
    return lease, standing.books, standing.now


def _signers(found: TermsFile) -> str:
    match found.signed_by_requester, found.signed_by_operator:
        case True, True:
            return "signed by both"
        case False, False:
            return "signed by nobody"
        case requester, _:
            return f"signed by the {'requester' if requester else 'operator'} alone"


async def _sent(chain: WalletChain, lease: Digest, payment: LeasePayment) -> LeaseSent:
    books = (await chain.service_lease(lease)).books
    if payment.paid_until is not None:
        people().print(
            f"paid up to {when(payment.paid_until)}: "
            f"{microusd_to_text(payment.amount_microusd)} to the operator, "
            f"{microusd_to_text(payment.fee_microusd)} to the scheduler"
        )
    if payment.refund_microusd is not None:
        people().print(
            f"the lease has ended; {microusd_to_text(payment.refund_microusd)} went back to the "
            "requester"
        )
    elif books is not None:
        people().print(f"it ends at {when(books.ends_at)}")
    return LeaseSent(
        lease=lease,
        transaction=payment.transaction,
        paid_microusd=payment.amount_microusd,
        fee_microusd=payment.fee_microusd,
        refund_microusd=payment.refund_microusd,
        ends_at=None if books is None else books.ends_at,
    )


# --- parts ------------------------------------------------------------------------------------


@asynccontextmanager
async def _open(settings: Settings, unlock: Unlock) -> AsyncIterator[WalletChain]:
    market = chain_settings(settings)  # a missing deployment is said before a password is typed
    async with open_chain(market, unlock()) as chain:
        await stop_if_cut_short(chain)
        yield chain


def _is_id(named: str) -> bool:
    return named.startswith("0x") and not Path(named).exists()
