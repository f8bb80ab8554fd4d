"""Why a contract said no: every custom error as a sentence that says what to do."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from assay_node.chain.abi_codec import BUILT_IN_ERRORS, ErrorType
from assay_node.chain.rpc import RpcRefusal
from assay_node.protocol.errors import ChainError
from assay_node.protocol.units import microusd_to_text

SKIP_REASONS: Final[Mapping[str, str]] = {
    "Market_AuditInvalid": "the order's chance of an audit is above 10,000 of 10,000",
    "Market_BudgetTooSmall": "the requester's budget for this scheduler is smaller than the cost",
    "Market_ExpiryTooFar": "the order expires too long after now; settle it closer to its expiry",
    "Market_NonceSpent": "the order was settled before, or its nonce was used by another order",
    "Market_OperatorNotDrawn": "an operator does not hold the seat that its ticket draws",
    "Market_OperatorTwice": "one operator appears twice in the receipt",
    "Market_OrderExpired": "the order expired before it was settled",
    "Market_QuorumInvalid": "the order's quorum is not more than half of its replicas",
    "Market_RateTooHigh": "a replica asks for more than the order's highest rate",
    "Market_ReplicaCountInvalid": "the receipt has another number of replicas than the order",
    "Market_RequesterSignatureInvalid": "the requester did not sign this order",
    "Market_RevealSignatureInvalid": "a reveal's signature is malformed",
    "Market_SeedTooOld": "the order's seed was kept too long ago to draw with",
    "Market_SeedUnknown": "the order's seed block is not mined yet or its hash was not kept",
    "Market_SignerNotRegistered": "a reveal is not signed by its operator's registered key",
    "Market_TicketTooHigh": "a replica's ticket is beyond the order's highest ticket",
    "Market_TicketsNotRising": "the replicas are not in the order of their tickets",
}
"""What the Market says of a receipt that it passes over (the reason in `ReceiptSkipped`)."""

_SENTENCES: Final[Mapping[str, str]] = {
    **SKIP_REASONS,
    "Market_PackedMalformed": "the packed receipts are malformed from byte {position} on",
    "Market_PackedTooManyFor": "the packed receipts hold more of {signer} than it signed",
    "Market_PackedUnknownVersion": "the Market does not read version {version} of packed receipts",
    "Market_WiredToOther": "the Vault belongs to another Market, {market}",
    "Road_AuditInvalid": "the order's chance of an audit is above 10,000 of 10,000",
    "Road_CommitSignatureInvalid": "the commit of {operator} has a malformed signature",
    "Road_ContextWrong": "job {job} stands otherwise on the road by now; read its events again",
    "Road_CostTooHigh": "the order may cost {cost}, more than the books can hold",
    "Road_ExpiryTooFar": "the order expires too long after now ({expiry}); open it closer to that",
    "Road_NoCommit": "a job is taken to the road with at least one commit",
    "Road_NoPlaceLeft": "the places are taken by lower tickets than that of {operator}",
    "Road_NoQuorumInReceipt": "a receipt without a quorum does not end an open job",
    "Road_NotCourt": "only the court brings commits to a panel; join it there",
    "Road_NotCommitting": "the commit set of job {job} is fixed",
    "Road_NotOpen": "job {job} is not open on the road: it was never taken there, or it is over",
    "Road_NotRevealing": "job {job} still takes commits; nothing can be revealed yet",
    "Road_OpeningMissing": "an answer of job {job} that was revealed is left out",
    "Road_OpeningWrong": "opening {index} does not open its commitment, or stands out of order",
    "Road_OperatorNotDrawn": "an operator does not hold the seat that its ticket draws",
    "Road_OperatorTwice": "{operator} has committed to this job already",
    "Road_OrderExpired": "the order expired ({expiry}) before it was taken to the road",
    "Road_QuorumInvalid": "the order's quorum is not more than half of its replicas",
    "Road_RateTooHigh": "{operator} asks for more than the order's highest rate",
    "Road_ReceiptRefused": "the Market refuses the receipt (reason 0x{reason})",
    "Road_ReplicaCountInvalid": "the order has no replicas, or more than a job may have",
    "Road_RequesterSignatureInvalid": "the requester did not sign this order",
    "Road_SeedTooOld": "the order's seed was kept too long ago to draw with",
    "Road_SeedUnknown": "the order's seed block is not mined yet or its hash was not kept",
    "Road_SetIncomplete": "the scheduler's commit set comes with the commits of all replicas",
    "Road_SetSignatureInvalid": "the scheduler did not sign this commit set",
    "Road_SignerNotRegistered": "a commit is not signed by its operator's registered key",
    "Road_TicketTooHigh": "the ticket of {operator} is beyond the order's highest ticket",
    "Road_TooEarly": "others have until {deadline} to act",
    "Road_TooLate": "the time to do that was over at {deadline}",
    "Road_WiredToOther": "the Vault, the Providers and the Market belong to another Road",
    "Vault_BudgetNotOpen": "the budget for scheduler {scheduler} is already being closed",
    "Vault_BudgetStillOpen": "the budget for scheduler {scheduler} still pays: close it first and "
    "take it back after its notice (closing time {closesAt})",
    "Vault_BudgetTooSmall": "the budget of {requester} for scheduler {scheduler} has {amount} and "
    "{needed} is needed",
    "Vault_Full": "the Vault cannot hold more than 2^64 micro-USD in all",
    "Vault_InsufficientFree": "account {account} has {free} free and {amount} is needed; deposit "
    "more first",
    "Vault_NonceSpent": "the order was settled or taken to the road before, or its nonce was used "
    "by another order",
    "Vault_NotMarket": "only the Market contract may do that",
    "Vault_NotModule": "only a module of the Vault may do that",
    "Vault_NotProviders": "only the Providers contract may do that",
    "Vault_StakeLocked": "{available} of the stake of {operator} is not promised to other jobs, "
    "and {needed} is needed",
    "Vault_TooFewDecimals": "the token has {decimals} decimals; the market needs 6 or more",
    "Providers_ClassFull": "hardware class {hardwareClass} has no room for more seats",
    "Providers_NoSeats": "the number of seats is at least 1",
    "Providers_NothingToExit": "no stake of {operator} is free to leave; give up seats first",
    "Providers_SeatsCovered": "the stake of {operator} covers its {seats} seats",
    "Providers_SeedUnknown": "the hash of block {seedBlock} is not known: it is not mined yet, or "
    "it is too old and nobody kept it",
    "Providers_SignerChanging": "the signing key of {operator} is being changed already; try again "
    "after {settledAt}",
    "Providers_SignerTaken": "key {signer} belongs to operator {operator} for good; use a new key",
    "Providers_SignerZero": "the signing key is missing",
    "Providers_StillUnbonding": "the stake of {operator} can leave from {readyAt} on",
    "Providers_TooFewSeats": "{operator} holds {held} seats of that class, fewer than {asked}",
    "Providers_WiredToOther": "the Vault belongs to another Providers contract, {providers}",
    "Leases_AlreadyStopped": "the lease is stopped already; it ends at {stopsAt}",
    "Leases_EscrowTooSmall": "the escrow of {escrow} is less than the notice costs, {needed}",
    "Leases_FeeToNobody": "the terms name a fee but no scheduler to earn it",
    "Leases_NoSeat": "{operator} holds no seat in hardware class {hardwareClass}",
    "Leases_NotModule": "the Vault {vault} was deployed without this contract as its module",
    "Leases_NotOpen": "the lease never started, or has ended",
    "Leases_NotParty": "{caller} is neither the lease's requester nor its operator",
    "Leases_NoticeTooLong": "a notice of {notice} s is longer than the longest, {longest} s",
    "Leases_OperatorSignatureInvalid": "the operator did not sign these terms",
    "Leases_Over": "the lease was over at {endedAt}; settle it to have everybody paid",
    "Leases_RateZero": "the rate is at least 1 micro-USD per second",
    "Leases_RequesterSignatureInvalid": "the requester did not sign these terms with its own key",
    "Leases_StartTooLate": "the terms had to be started by {startBy}",
    "Leases_TermsUsed": "a lease on these terms was started or cancelled before; take a new nonce",
    "Court_ContextWrong": "the case of job {job} stands otherwise; read its events again",
    "Court_CostTooHigh": "a panel for this order may cost {cost}, more than the books can hold",
    "Court_DigestWrong": "the panel's answer was not made of this output",
    "Court_FeeTooSmall": "the order's fee of {fee} is less than its share of an audit, {needed}",
    "Court_FundTooSmall": "the audit fund of scheduler {scheduler} has {amount} and {needed} is "
    "needed; anybody may fill it",
    "Court_NotDrawn": "job {job} was not drawn for an audit",
    "Court_NotFresh": "{operator} had a part in the job and cannot sit on its panel",
    "Court_NotJudge": "only the Market and the Road may do that",
    "Court_NotOpen": "job {job} has no case in that state: it never had one, it has moved on, or "
    "it is over",
    "Court_NothingHeld": "nothing that was slashed in job {job} can come back",
    "Court_OpeningWrong": "the opening of replica {index} is missing, or not of its commitment",
    "Court_PanelOpen": "the panel still sits on the road as job {panelJob}; it is finalized there",
    "Court_SeedUnknown": "the hash of block {seedBlock} is not known: it is not mined yet, or it "
    "is too old and nobody kept it",
    "Court_TooEarly": "others have until {until} to act",
    "Court_TooLate": "the time to do that was over at {until}",
    "Court_WiredToOther": "the Vault, the Market and the Road belong to another Court",
    "Schedulers_AlreadyLeaving": "scheduler {scheduler} gave notice before; its bond can be taken "
    "back at {leavesAt}",
    "Schedulers_AmountZero": "a bond is more than nothing",
    "Schedulers_Caught": "scheduler {scheduler} contradicted itself once and can bond no more; a "
    "new wallet can",
    "Schedulers_NoOffence": "the two do not contradict each other",
    "Schedulers_NotLeaving": "scheduler {scheduler} gave no notice: give it first",
    "Schedulers_NotModule": "the Vault {vault} was deployed without this contract as its module",
    "Schedulers_NothingBonded": "scheduler {scheduler} has no bond",
    "Schedulers_SignatureInvalid": "a signature is malformed",
    "Schedulers_SignersDiffer": "{first} signed the one and {second} the other",
    "Schedulers_StillSlashable": "the bond of {scheduler} can be taken back from {leavesAt} on",
    "ERC20InsufficientAllowance": "the token allowance of the Vault is too small",
    "ERC20InsufficientBalance": "wallet {sender} holds fewer tokens than that",
    "ERC20InvalidApprover": "the token refuses this owner",
    "ERC20InvalidReceiver": "the token cannot be sent to {receiver}",
    "ERC20InvalidSender": "the token cannot be sent from {sender}",
    "ERC20InvalidSpender": "the token refuses {spender} as a spender",
    "ERC2612ExpiredSignature": "the permit expired before it was mined",
    "ERC2612InvalidSigner": "the permit is signed by {signer} and not by {owner}",
    "InvalidAccountNonce": "the permit's nonce was used already",
    "ECDSAInvalidSignature": "a signature recovers no key",
    "ECDSAInvalidSignatureLength": "a signature has {length} bytes instead of 65",
    "ECDSAInvalidSignatureS": "a signature's s is in the upper half (EIP-2)",
    "CheckpointUnorderedInsertion": "the chain's block numbers went backwards",
    "InvalidShortString": "a name in the contract is malformed",
    "StringTooLong": "a name in the contract is too long",
    "ReentrancyGuardReentrantCall": "the token called back into the Vault",
    "SafeCastOverflowedUintDowncast": "{value} does not fit {bits} bits",
    "SafeERC20FailedOperation": "the token {token} refused the transfer",
    "Error": "{text}",
    "Panic": "the contract stopped at an internal check (code {code})",
}
_BUILT_IN: Final = {error.selector: error for error in BUILT_IN_ERRORS}
_MONEY: Final = frozenset(
    {"amount", "available", "cost", "escrow", "fee", "free", "needed", "stake"}
)
_UNIX_TIMES: Final = frozenset(
    {
        "closesAt",
        "deadline",
        "endedAt",
        "expiry",
        "leavesAt",
        "readyAt",
        "settledAt",
        "startBy",
        "stopsAt",
        "until",
    }
)
_YEAR_9999: Final = 253_370_764_800  # later times cannot be written as a date


class ContractRefusal(ChainError):
    """A contract turned a call down; `name` is its custom error, such as Vault_InsufficientFree."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def sentence(name: str, members: Mapping[str, Any]) -> str:
    """Return the sentence for an error and its members; the bare name if there is none."""
    shown = {key: _shown(key, value) for key, value in members.items()}
    template = _SENTENCES.get(name)
    return template.format(**shown) if template else "the contract gives no further reason"


def skip_reason(selector: bytes, errors: Mapping[bytes, ErrorType]) -> str:
    """Return the name and the sentence for the reason in a `ReceiptSkipped` event."""
    error = errors.get(selector)
    if error is None:
        return f"0x{selector.hex()}: a reason this version does not know"
    return f"{error.name}: {sentence(error.name, {})}"


def refusal(action: str, data: bytes | None, errors: Mapping[bytes, ErrorType]) -> ContractRefusal:
    """Return the error for a reverted call, from the bytes it reverted with."""
    selector = (data or b"")[:4]
    error = errors.get(selector) or _BUILT_IN.get(selector)
    if error is None or data is None:
        return ContractRefusal("unknown", f"{action} was refused without a reason we know")
    try:
        members = error.decode_members(data[4:])
    except ChainError:
        return ContractRefusal(error.name, f"{action} was refused: {error.name}")
    return ContractRefusal(
        error.name, f"{action} was refused ({error.name}): {sentence(error.name, members)}"
    )


def explained(error: RpcRefusal, action: str, errors: Mapping[bytes, ErrorType]) -> ChainError:
    """Return what a node's refusal means: a contract's own reason where there is one."""
    if error.data:
        return refusal(action, error.data, errors)
    if "revert" in error.message.lower():
        return ContractRefusal("unknown", f"{action} was refused without a reason")
    return ChainError(f"{action} failed: {error.message}")


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if name in _MONEY and isinstance(value, int):
        return microusd_to_text(value)
    if name in _UNIX_TIMES and isinstance(value, int) and value < _YEAR_9999:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if isinstance(value, str):  # a contract's own text may be anything
        return value[:200].encode("ascii", "backslashreplace").decode()
    return str(value)
