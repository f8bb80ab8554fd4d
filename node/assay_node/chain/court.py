"""The Court: its events and call data as the port has them, and its steps as calls."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, assert_never

from assay_node.chain.abi_codec import SELECTOR_BYTES, Log
from assay_node.chain.abi_orders import abi_order, signed_order_of
from assay_node.chain.bindings import court, market, road, structs
from assay_node.chain.bindings.court import JobEntered, PanelCalled
from assay_node.chain.bound_contract import Call
from assay_node.chain.road import abi_commits, abi_entries, abi_openings
from assay_node.chain.unpacking import unpack
from assay_node.ports.court import (
    CalledPanel,
    CallPanel,
    CaseShare,
    CaseState,
    CloseCase,
    CourtStep,
    Decided,
    EnteredJob,
    JoinPanel,
    KeepAuditSeed,
    Matter,
    ReleaseCase,
    ShareKind,
)
from assay_node.ports.road import RoadOpening
from assay_node.protocol import receipt as receipts
from assay_node.protocol.errors import AssayError
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.order import Order, job_id
from assay_node.protocol.panels import Panel, PanelKind, panel_order
from assay_node.protocol.receipt import Receipt, Replica
from assay_node.protocol.typed_data import Domain

STATES: Final = tuple(CaseState)
KINDS: Final = tuple(PanelKind)
SHARE_KINDS: Final = tuple(ShareKind)
"""By the contract's numbers."""

_NO_DIGEST: Final = Digest(bytes(32))


def entered_topics(job: Digest | None) -> list[Any]:
    """Return the topics of jobs that come to the court, or of one, as `eth_getLogs` wants them."""
    return _topics(JobEntered.ABI.hash, job)


def called_topics(job: Digest | None) -> list[Any]:
    """Return the topics of panels, or of those for one job, as `eth_getLogs` wants them."""
    return _topics(PanelCalled.ABI.hash, job)


def entered_job(log: Log) -> EnteredJob:
    """Return a job as it was told that it came to the court."""
    event = JobEntered.decode(log)
    return EnteredJob(
        job=event.job,
        commits=event.commits,
        shares=tuple(map(_share, event.shares)),
        entered_in=log.block_number,
        transaction=Digest(log.transaction),
    )


def called_panel(
    log: Log, call_data: bytes | None, *, court_address: Address, domain: Domain
) -> CalledPanel:
    """Return a panel as it was told that it was called."""
    event = PanelCalled.decode(log)
    panel = Panel(
        kind=KINDS[event.kind],
        payer=event.payer,
        seed_block=event.seed_block,
        expiry=event.expiry,
    )
    matter = None if call_data is None else _matter_in(call_data)
    if matter is not None:
        asked = panel_order(matter.order, panel, court=court_address, domain=domain)
        if job_id(asked, domain) != event.panel_job:
            matter = None  # a contract called it, with something else than its own call data
    return CalledPanel(
        job=event.job,
        panel_job=event.panel_job,
        panel=panel,
        called_in=log.block_number,
        matter=matter,
    )


def decided_in(call_data: bytes, entered: EnteredJob, domain: Domain) -> Decided | None:
    """Return what a job was decided by from the call that did it, None if it is not in there."""
    try:
        found = _decided_in(call_data, entered, domain)
    except AssayError:
        return None
    if found is None or receipts.commit_set(found.matter.commitments) != entered.commits:
        return None
    return found


def court_call(contract: court.Court, step: CourtStep) -> Call:
    """Return a step as a call."""
    match step:
        case CallPanel():
            calls = {
                PanelKind.APPEAL: contract.appeal,
                PanelKind.AUDIT: contract.audit,
                PanelKind.ESCALATION: contract.escalate,
            }
            return calls[step.kind](_abi_matter(step.matter))
        case JoinPanel():
            return contract.join(
                _abi_matter(step.matter),
                _abi_panel(step.panel),
                abi_entries(step.entries),
                abi_commits(step.commits),
            )
        case CloseCase():
            return contract.close(
                _abi_matter(step.matter),
                _abi_panel(step.panel),
                abi_openings(step.openings),
                step.digest or _NO_DIGEST,
            )
        case ReleaseCase():
            return contract.release(_abi_matter(step.matter))
        case KeepAuditSeed():
            return contract.keep_seed(step.seed_block)
        case _:
            assert_never(step)


def describe(step: CourtStep) -> str:
    """Return what a step does, in words."""
    match step:
        case CallPanel():
            return f"calling a panel for the job ({step.kind.value})"
        case JoinPanel():
            return "committing to a panel"
        case CloseCase():
            return "closing the job's case"
        case ReleaseCase():
            return "releasing what the court holds of the job"
        case KeepAuditSeed():
            return f"keeping the hash of audit block {step.seed_block}"
        case _:
            assert_never(step)


def _topics(event: bytes, job: Digest | None) -> list[Any]:
    first = "0x" + event.hex()
    return [first] if job is None else [first, to_hex(job)]


# Decoding what somebody called


def _matter_in(data: bytes) -> Matter | None:
    function = court.FUNCTIONS.get(data[:SELECTOR_BYTES])
    if function is None or function.name not in ("appeal", "audit", "escalate"):
        return None
    try:
        (values,) = function.decode_call(data)
        order, commitments, shares, entered_in = values
        return Matter(
            order=signed_order_of(order, b"").order,
            commitments=tuple(map(Digest, commitments)),
            shares=tuple(map(_share, shares)),
            entered_in=entered_in,
        )
    except AssayError:
        return None


def _decided_in(data: bytes, entered: EnteredJob, domain: Domain) -> Decided | None:
    road_function = road.FUNCTIONS.get(data[:SELECTOR_BYTES])
    if road_function is not None and road_function.name == "finalize":
        values, _, entries, openings = road_function.decode_call(data)
        order = signed_order_of(values, b"").order
        if job_id(order, domain) != entered.job:
            return None
        return Decided(
            matter=_matter(order, [Digest(entry[3]) for entry in entries], entered),
            openings=tuple(
                RoadOpening(index=index, seconds=seconds, tag=Digest(tag), salt=Digest(salt))
                for index, seconds, tag, salt in openings
            ),
        )
    for one in _receipts_in(data):
        if job_id(one.signed_order.order, domain) == entered.job:
            return decided_by(one, entered)
    return None


def decided_by(receipt: Receipt, entered: EnteredJob) -> Decided:
    """Return what a job was decided by, from its receipt."""
    commitments = [
        receipts.commitment(
            entered.job, replica.operator, replica.tag, replica.seconds, replica.salt
        )
        for replica in receipt.replicas
    ]
    return Decided(
        matter=_matter(receipt.signed_order.order, commitments, entered),
        openings=tuple(
            RoadOpening(index=index, seconds=replica.seconds, tag=replica.tag, salt=replica.salt)
            for index, replica in enumerate(receipt.replicas)
        ),
    )


def _matter(order: Order, commitments: Sequence[Digest], entered: EnteredJob) -> Matter:
    return Matter(
        order=order,
        commitments=tuple(commitments),
        shares=entered.shares,
        entered_in=entered.entered_in,
    )


def _receipts_in(data: bytes) -> Iterable[Receipt]:
    selector = data[:SELECTOR_BYTES]
    function = market.FUNCTIONS.get(selector)
    if function is not None and function.name == "settlePacked":
        return unpack(*function.decode_call(data))
    if function is not None and function.name == "settle":
        (given,) = function.decode_call(data)
        return [_receipt(values) for values in given]
    overriding = road.FUNCTIONS.get(selector)
    if overriding is not None and overriding.name == "settle":
        values, *_ = overriding.decode_call(data)
        return [_receipt(values)]
    return []


def _receipt(values: Any) -> Receipt:
    order, signature, replicas = values
    return Receipt(
        signed_order=signed_order_of(order, signature),
        replicas=tuple(_replica(structs.Replica(*replica)) for replica in replicas),
    )


def _replica(replica: structs.Replica) -> Replica:
    return Replica(
        operator=replica.operator,
        rate_microusd=replica.rate,
        ticket=replica.ticket,
        seconds=replica.secs,
        tag=Digest(replica.tag),
        salt=Digest(replica.salt),
        signature=replica.sig,
    )


# Encoding


def _share(word: int) -> CaseShare:
    return CaseShare(
        operator=Address(f"0x{word & (1 << 160) - 1:040x}"),
        amount_microusd=word >> 160 & (1 << 64) - 1,
        kind=SHARE_KINDS[word >> 224 & 0xFF],
    )


def _word(share: CaseShare) -> int:
    kind = SHARE_KINDS.index(share.kind)
    return int(share.operator, 16) | share.amount_microusd << 160 | kind << 224


def _abi_matter(matter: Matter) -> structs.Matter:
    return structs.Matter(
        order=abi_order(matter.order),
        commitments=matter.commitments,
        shares=tuple(map(_word, matter.shares)),
        entered_in=matter.entered_in,
    )


def _abi_panel(panel: Panel) -> structs.Panel:
    return structs.Panel(
        kind=KINDS.index(panel.kind),
        payer=panel.payer,
        seed_block=panel.seed_block,
        expiry=panel.expiry,
    )
