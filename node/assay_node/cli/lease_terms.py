"""The terms of a service as a file that goes from one side to the other: written, signed, read."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from assay_node.app import chain_settings
from assay_node.chain.client import open_reader
from assay_node.chain.reader import MarketReader
from assay_node.chain.service_leases import LeaseState
from assay_node.cli.output import confirm, people
from assay_node.keys import LocalKey
from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.service_terms import NOBODY, ServiceTerms, SignedTerms, lease_id
from assay_node.protocol.typed_data import recover
from assay_node.protocol.units import MIB, microusd_to_text
from assay_node.settings import Settings

TERMS_BYTES_MAX: Final = 4_096
"""Signed terms have some 700 bytes; what is larger is another file."""

SPEC_BYTES_MAX: Final = 16 * MIB
"""A description that people read; images and inputs are named in it by their digests."""

Unlock = Callable[[], LocalKey]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What `assay lease propose` was asked for."""

    operator: Address
    spec: Path
    hardware_class: str
    scheduler: Address | None
    rate_microusd: int
    fee_rate_microusd: int
    escrow_microusd: int
    notice_s: int
    start_within_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsFile:
    """Terms in a file, the id that their lease has, and whose signature is good."""

    lease: Digest
    terms: ServiceTerms
    signed_by_requester: bool
    signed_by_operator: bool


async def propose_lease(
    settings: Settings, wanted: Proposal, file: Path, unlock: Unlock, *, confirmed: bool
) -> TermsFile:
    """Write terms to a file, signed by the requester.

    Raises:
        LocalError: the file is there already, or the operator holds no seat.
    """
    spec = _digest_of(wanted.spec)
    _check_absent(file)
    async with open_reader(chain_settings(settings)) as chain:
        key = unlock()
        terms = _terms(wanted, spec, key.address, (await chain.head()).timestamp)
        await _check_seat(chain, terms)
        say_terms(terms)
        await _note_missing_money(chain, terms)
        confirm(
            f"Sign? Until {when(terms.start_by)} anybody who has the operator's signature too may "
            f"start this lease with {microusd_to_text(terms.escrow_microusd)} of your money.",
            yes=confirmed,
        )
        lease = lease_id(terms, chain.leases_domain)
        signed = SignedTerms(terms=terms, requester_signature=key.sign_digest(lease))
        _write(file, signed)
        people().print(
            f"{file} has the signed terms of lease {to_hex(lease)}; the operator signs them with: "
            f"assay lease accept {file.name}"
        )
        return await checked(chain, signed)


async def accept_lease(
    settings: Settings, file: Path, spec: Path | None, unlock: Unlock, *, confirmed: bool
) -> TermsFile:
    """Add the operator's signature to terms.

    Raises:
        LocalError: the key is not the operator's, the description is another, or it is too late.
    """
    signed = read_terms(file)
    terms = signed.terms
    if spec is not None and _digest_of(spec) != terms.spec:
        raise LocalError(f"{spec} is not the description that {file} was made for")
    async with open_reader(chain_settings(settings)) as chain:
        found = await checked(chain, signed)
        await check_startable(chain, found)
        await _check_seat(chain, terms)
        key = unlock()
        if key.address not in (terms.operator, await chain.signer_of(terms.operator)):
            raise LocalError(
                f"{key.address} is neither the operator {terms.operator} nor its signing key"
            )
        say_terms(terms)
        await _note_missing_money(chain, terms)
        if not found.signed_by_requester:
            people().print("Note: the requester has not signed, so only it can start this lease.")
        confirm(f"Sign? You may be asked to serve until {when(terms.start_by)}.", yes=confirmed)
        signed = replace(signed, operator_signature=key.sign_digest(found.lease))
        _write(file, signed)
        people().print(f"{file} is signed; start the lease with: assay lease start {file.name}")
        return await checked(chain, signed)


async def checked(chain: MarketReader, signed: SignedTerms) -> TermsFile:
    """Return terms with their lease's id in this market, and whose signature is good."""
    terms, lease = signed.terms, lease_id(signed.terms, chain.leases_domain)
    operators = {terms.operator, await chain.signer_of(terms.operator)} - {None}
    return TermsFile(
        lease=lease,
        terms=terms,
        signed_by_requester=_signer(lease, signed.requester_signature) == terms.requester,
        signed_by_operator=_signer(lease, signed.operator_signature) in operators,
    )


async def check_startable(chain: MarketReader, found: TermsFile) -> None:
    """Refuse terms that were used, or whose time is over.

    Raises:
        LocalError: saying which.
    """
    standing = await chain.service_lease(found.lease)
    if standing.state is not LeaseState.UNKNOWN:
        raise LocalError(
            f"lease {to_hex(found.lease)} was started or cancelled before; write new terms with: "
            "assay lease propose"
        )
    if standing.now > found.terms.start_by:
        raise LocalError(f"these terms had to be started by {when(found.terms.start_by)}")


def read_terms(file: Path) -> SignedTerms:
    """Return the terms in a file.

    Raises:
        LocalError: it cannot be read, or is another file.
    """
    try:
        return codec.decode(SignedTerms, _bytes_of(file, TERMS_BYTES_MAX))
    except MalformedMessage as error:
        raise LocalError(f"{file} has no terms of a lease: {error}") from None


def say_terms(terms: ServiceTerms) -> None:
    """Tell a person what is being agreed on."""
    for line in lines(terms):
        people().print(f"  {line}")


def lines(terms: ServiceTerms) -> list[str]:
    """Return terms as lines for a person."""
    an_hour = microusd_to_text(3_600 * terms.rate_microusd)
    said = [
        f"requester {terms.requester}",
        f"operator  {terms.operator}",
        f"service   {to_hex(terms.spec)} (SHA-256 of its description)",
        f"price     {microusd_to_text(terms.rate_microusd)} a second, {an_hour} an hour",
    ]
    if terms.scheduler != NOBODY:
        fee = microusd_to_text(terms.fee_rate_microusd)
        said.append(f"fee       {fee} a second for scheduler {terms.scheduler}")
    return [
        *said,
        f"escrow    {microusd_to_text(terms.escrow_microusd)}, enough for {terms.funded_s} s",
        f"notice    {terms.notice_s} s, at most {microusd_to_text(terms.notice_cost_microusd)}",
        f"start by  {when(terms.start_by)}",
    ]


def when(at: int) -> str:
    """Return a time as people read it, to the second that money is paid for."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _terms(wanted: Proposal, spec: Digest, requester: Address, now: int) -> ServiceTerms:
    try:
        return ServiceTerms(
            requester=requester,
            operator=wanted.operator,
            spec=spec,
            hardware_class=hardware_class_digest(wanted.hardware_class),
            scheduler=wanted.scheduler or NOBODY,
            rate_microusd=wanted.rate_microusd,
            fee_rate_microusd=wanted.fee_rate_microusd,
            escrow_microusd=wanted.escrow_microusd,
            notice_s=wanted.notice_s,
            start_by=now + wanted.start_within_s,
            nonce=secrets.token_bytes(32),
        )
    except MalformedMessage as error:
        raise LocalError(f"the contract would refuse these terms: {error}") from None


async def _check_seat(chain: MarketReader, terms: ServiceTerms) -> None:
    if await chain.seats(terms.operator, terms.hardware_class) == 0:
        raise LocalError(
            f"{terms.operator} holds no seat in that hardware class, which an operator must when "
            "the lease starts"
        )


async def _note_missing_money(chain: MarketReader, terms: ServiceTerms) -> None:
    free = (await chain.account(terms.requester)).free_microusd
    if free < terms.escrow_microusd:
        people().print(
            f"Note: the requester has {microusd_to_text(free)} free in the Vault, less than the "
            "escrow; the lease cannot start before it has paid in the rest, with: "
            "assay wallet deposit AMOUNT --no-budget"
        )


def _digest_of(spec: Path) -> Digest:
    return Digest(hashlib.sha256(_bytes_of(spec, SPEC_BYTES_MAX)).digest())


def _check_absent(file: Path) -> None:
    if file.exists():
        raise LocalError(f"{file} is there already; choose another file")


def _write(file: Path, signed: SignedTerms) -> None:
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(codec.encode(signed))
        partial.replace(file)
    except OSError as error:
        raise LocalError(f"cannot write {file}: {error.strerror}") from None


def _bytes_of(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise LocalError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > most:
        raise LocalError(f"{file} has more than {most} bytes")
    return data


def _signer(digest: Digest, signature: bytes) -> Address | None:
    try:
        return recover(digest, signature)
    except MalformedMessage:
        return None
