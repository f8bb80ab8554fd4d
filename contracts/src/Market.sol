// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {ICourt} from "./interfaces/ICourt.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Batch, Batches, Signed} from "./libraries/Batches.sol";
import {
    DESK_AUDIT_BPS,
    DESK_BOND,
    DESK_COMMITS,
    DESK_COUNT,
    DESK_HARDWARE_CLASS,
    DESK_JOB,
    DESK_ORDER,
    DESK_ORDER_BYTES,
    DESK_PAYER,
    DESK_R,
    DESK_REQUESTER,
    DESK_SEED,
    DESK_SEED_BLOCK,
    DESK_VOTES,
    DESK_VS,
    Desk,
    VOTE_BYTES,
    VOTE_KEY,
    VOTE_OPERATOR,
    VOTE_PLACE,
    VOTE_R,
    VOTE_RATE,
    VOTE_SALT,
    VOTE_SECS,
    VOTE_TAG,
    VOTE_TICKET,
    VOTE_VS
} from "./libraries/Desk.sol";
import {Judge} from "./libraries/Judge.sol";
import {Packed} from "./libraries/Packed.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Plain} from "./libraries/Plain.sol";
import {Raw} from "./libraries/Raw.sol";
import {Records} from "./libraries/Records.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Words} from "./libraries/Words.sol";
import {Referral} from "./types/Courts.sol";
import {Order, Receipt, Replica} from "./types/Orders.sol";
import {ClaimsResult, FailedClaim} from "./types/Seats.sol";
import {Share} from "./types/Share.sol";
import {Refusal} from "./types/Sums.sol";

/// @notice Judges receipts; see IMarket.
/// @dev Both forms of receipts are read into the same memory and judged by the same code, without touching state. What
/// only Providers can tell is asked in one call for all of them, and the good ones go to the Vault in another, which
/// still refuses those whose nonce or budget is spent by then.
contract Market is IMarket, EIP712 {
    using Batches for Batch;
    using Batches for Signed;

    /// @notice Seconds that an order may lie ahead of its expiry when it is settled.
    uint256 public constant HORIZON = Parameters.HORIZON;
    /// @notice Most replicas of a job.
    uint256 public constant MAX_REPLICAS = Parameters.MAX_REPLICAS;
    /// @notice Share of rate x seconds that is paid when no quorum forms, in 1/10,000.
    uint256 public constant EFFORT_BPS = Parameters.EFFORT_BPS;

    bytes4 private constant GOOD = Judge.GOOD;

    /// @dev How long the answers of Providers and Vault are, with one empty list and with two.
    uint256 private constant NO_FAILURES_BYTES = 64;
    uint256 private constant NO_EXCEPTIONS_BYTES = 128;

    IVault private immutable VAULT;
    IProviders private immutable PROVIDERS;
    ICourt private immutable COURT;

    constructor(IVault vault_, IProviders providers_, ICourt court_) EIP712("Assay", "1") {
        if (vault_.market() != address(this)) revert Market_WiredToOther(vault_.market());
        if (vault_.providers() != address(providers_)) revert Market_WiredToOther(vault_.providers());
        VAULT = vault_;
        PROVIDERS = providers_;
        COURT = court_;
    }

    /// @inheritdoc IMarket
    function settle(Receipt[] calldata receipts) external {
        uint256 replicas = 0;
        for (uint256 i = 0; i < receipts.length; ++i) {
            replicas += receipts[i].replicas.length;
        }
        Desk.create();
        Batch memory batch;
        _prepare(batch, receipts.length, replicas);
        for (uint256 i = 0; i < receipts.length; ++i) {
            _open(receipts[i], batch);
            _judge(batch);
        }
        _conclude(batch);
    }

    /// @inheritdoc IMarket
    function settlePacked(bytes calldata packed) external {
        Desk.create();
        Packed.Reader memory reader;
        Batch memory batch;
        Desk.prepare(_domainSeparatorV4());
        Packed.open(packed, reader, batch);
        while (reader.receipts != 0) {
            if (Raw.given(reader.position) >> 224 != reader.open) Packed.turnTo(reader);
            if (_isPlain(reader, batch)) continue;
            Packed.next(reader);
            _judge(batch);
        }
        Packed.close(reader, batch);
        _conclude(batch);
    }

    /// @inheritdoc IMarket
    function commitDigest(bytes32 job, uint32 round, uint64 rate, bytes32 commitment_)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(TypedData.hashCommit(job, round, rate, commitment_));
    }

    /// @inheritdoc IMarket
    function ordersDigest(uint256[] calldata orders) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashWords(TypedData.ORDERS_TYPEHASH, orders));
    }

    /// @inheritdoc IMarket
    function revealsDigest(uint256[] calldata reveals) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashWords(TypedData.REVEALS_TYPEHASH, reveals));
    }

    /// @inheritdoc IMarket
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc IMarket
    function vault() external view returns (IVault) {
        return VAULT;
    }

    /// @inheritdoc IMarket
    function court() external view returns (ICourt) {
        return COURT;
    }

    /// @inheritdoc IMarket
    function providers() external view returns (IProviders) {
        return PROVIDERS;
    }

    /// @inheritdoc IMarket
    function commitment(bytes32 job, address operator, bytes32 tag, uint32 secs, bytes32 salt)
        external
        pure
        returns (bytes32)
    {
        return TypedData.hashCommitment(job, operator, tag, secs, salt);
    }

    /// @inheritdoc IMarket
    function jobId(Order calldata order) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashOrder(order));
    }

    /// @inheritdoc IMarket
    function revealDigest(bytes32 job, bytes32 commits, bytes32 tag, uint64 rate, uint32 secs)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(TypedData.hashReveal(job, commits, tag, rate, secs));
    }

    /// @inheritdoc IMarket
    function judge(Receipt calldata receipt)
        external
        view
        returns (bytes4 reason, uint256 winners, uint256 secs)
    {
        Desk.create();
        Batch memory batch;
        _prepare(batch, 1, receipt.replicas.length);
        _open(receipt, batch);
        Judge.identify();
        reason = Judge.checkOrder();
        // What else is wrong with an order is told before its expiry.
        if (reason != GOOD && reason != Market_OrderExpired.selector) return (reason, 0, 0);
        reason = Judge.checkVotes();
        if (reason == GOOD) reason = _checkEach(batch);
        if (reason != GOOD) return (reason, 0, 0);
        Judge.claim(batch);
        FailedClaim[] memory failures = _ask(batch);
        if (failures.length != 0) return (_reasonOf(failures[0].failure(), false), 0, 0);
        (winners, secs) = Judge.tally();
    }

    // --- opening ------------------------------------------------------------------------------

    function _prepare(Batch memory batch, uint256 receipts, uint256 replicas) private view {
        Desk.prepare(_domainSeparatorV4());
        batch.create(receipts, replicas, replicas, receipts);
    }

    /// @dev Lays an ABI receipt on the desk. One with too many replicas is opened as far as there is room: its count
    /// alone makes it bad.
    function _open(Receipt calldata receipt, Batch memory batch) private pure {
        _openOrder(receipt.order);
        (bytes32 r, bytes32 vs) = Signatures.compact(receipt.requesterSig);
        Raw.store(DESK_R, uint256(r));
        Raw.store(DESK_VS, uint256(vs));
        Raw.store(DESK_COUNT, receipt.replicas.length);
        uint256 vote = DESK_VOTES;
        for (uint256 i = 0; i < receipt.replicas.length && i < MAX_REPLICAS; ++i) {
            Replica calldata replica = receipt.replicas[i];
            Raw.store(vote + VOTE_OPERATOR, uint160(replica.operator));
            Raw.store(vote + VOTE_TAG, uint256(replica.tag));
            Raw.store(vote + VOTE_SECS, replica.secs);
            Raw.store(vote + VOTE_SALT, uint256(replica.salt));
            Raw.store(vote + VOTE_RATE, replica.rate);
            Raw.store(vote + VOTE_TICKET, replica.ticket);
            Raw.store(vote + VOTE_PLACE, batch.placeOf(replica.operator));
            (r, vs) = Signatures.compact(replica.sig);
            Raw.store(vote + VOTE_R, uint256(r));
            Raw.store(vote + VOTE_VS, uint256(vs));
            vote += VOTE_BYTES;
        }
        uint256 hardwareClass = Raw.load(DESK_HARDWARE_CLASS);
        Raw.store(DESK_SEED, batch.seedOf(hardwareClass, Raw.load(DESK_SEED_BLOCK)));
    }

    /// @dev The compiler's own reading refuses members that are wider than their types.
    function _openOrder(Order calldata given) private pure {
        Order memory order = given;
        (uint256 to, uint256 size) = (DESK_ORDER, DESK_ORDER_BYTES);
        assembly ("memory-safe") {
            mcopy(to, order, size)
            // It is used no more. Memory would else cost the square of the receipts.
            mstore(0x40, order)
        }
    }

    // --- judging ------------------------------------------------------------------------------

    /// @dev Everything that makes a receipt true, cheapest first, and then its verdict. Reverts for nothing that
    /// a stranger can put into a receipt.
    function _judge(Batch memory batch) private {
        (uint256 orderHash, uint256 job) = Judge.identify();
        bytes4 reason = Judge.checkOrder();
        if (batch.signsOnce()) {
            // Who signs once signs for the bad ones too.
            reason = _either(reason, Judge.checkVotes());
            reason = _either(reason, _checkOnce(batch, orderHash));
        } else {
            if (reason == GOOD) reason = Judge.checkVotes();
            if (reason == GOOD) reason = _checkEach(batch);
        }
        if (reason == GOOD) reason = _decide(batch);
        if (reason != GOOD) emit ReceiptSkipped(bytes32(job), reason);
    }

    /// @dev Judges the next receipt where it is plain; false, and nothing done, where it needs a closer look. What is
    /// signed by itself comes first: whoever signs once is to have each of its parts listed once.
    function _isPlain(Packed.Reader memory reader, Batch memory batch) private view returns (bool) {
        if (!Plain.read()) return false;
        if (reader.orderSignature != 0 && !_orderSigned()) return false;
        if (reader.revealSignature == 0) Plain.list(batch);
        else if (!Plain.recover()) return false;
        if (reader.orderSignature == 0) Plain.listOrder(batch);
        uint256 auditBps = Raw.load(DESK_AUDIT_BPS);
        if (auditBps != 0) batch.refer(Raw.load(DESK_COMMITS), Raw.load(DESK_BOND), auditBps);
        Plain.conclude();
        return true;
    }

    function _either(bytes4 reason, bytes4 other) private pure returns (bytes4) {
        return reason == GOOD ? other : reason;
    }

    /// @dev Each signature by itself.
    function _checkEach(Batch memory batch) private view returns (bytes4) {
        if (!_orderSigned()) return Market_RequesterSignatureInvalid.selector;
        return _recoverReveals(batch);
    }

    /// @dev Lists what is signed once, and checks what is not.
    function _checkOnce(Batch memory batch, uint256 orderHash) private view returns (bytes4 reason) {
        if (batch.payers.length != 0) {
            batch.payers[Raw.load(DESK_PAYER)].list(orderHash);
        } else if (!_orderSigned()) {
            reason = Market_RequesterSignatureInvalid.selector;
        }
        if (batch.revealers.length != 0) {
            _listReveals(batch);
        } else {
            reason = _either(reason, _recoverReveals(batch));
        }
    }

    function _orderSigned() private view returns (bool) {
        (uint256 r, uint256 vs) = (Raw.load(DESK_R), Raw.load(DESK_VS));
        address signer = Signatures.recover(Raw.load(DESK_JOB), r, vs);
        // Of 160 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        return _speaksFor(signer, address(uint160(Raw.load(DESK_REQUESTER))));
    }

    /// @dev Plain ECDSA by the requester's own key, or by one that it registered, which is how a smart wallet orders:
    /// a contract's own signature could be taken back once the work is done, a registered key cannot.
    function _speaksFor(address signer, address requester) private view returns (bool) {
        if (signer == address(0)) return false;
        return signer == requester || PROVIDERS.isSigner(requester, signer);
    }

    /// @dev Each reveal is signed over the whole commit set: after the first of them nobody can change an answer.
    function _recoverReveals(Batch memory batch) private view returns (bytes4) {
        unchecked {
            uint256 end = Desk.endOfVotes();
            for (uint256 vote = DESK_VOTES; vote != end; vote += VOTE_BYTES) {
                uint256 digest = Desk.digest(Judge.hashReveal(vote));
                (uint256 r, uint256 vs) = (Raw.load(vote + VOTE_R), Raw.load(vote + VOTE_VS));
                address signer = Signatures.recover(digest, r, vs);
                if (signer == address(0)) return Market_RevealSignatureInvalid.selector;
                (uint256 place, uint256 operator) =
                    (Raw.load(vote + VOTE_PLACE), Raw.load(vote + VOTE_OPERATOR));
                Raw.store(vote + VOTE_KEY, batch.keyOf(place, operator, signer));
            }
            return GOOD;
        }
    }

    function _listReveals(Batch memory batch) private pure {
        unchecked {
            uint256 end = Desk.endOfVotes();
            for (uint256 vote = DESK_VOTES; vote != end; vote += VOTE_BYTES) {
                uint256 place = Raw.load(vote + VOTE_PLACE);
                batch.revealers[place].list(Judge.hashReveal(vote));
                // Each has one key.
                Raw.store(vote + VOTE_KEY, place);
            }
        }
    }

    /// @dev Tallies the votes and adds the job to the batch.
    function _decide(Batch memory batch) private pure returns (bytes4) {
        // No budget holds more than 64 bits of money.
        if (!Judge.decide(batch)) return Market_BudgetTooSmall.selector;
        Judge.claim(batch);
        ++batch.jobs;
        return GOOD;
    }

    // --- concluding ---------------------------------------------------------------------------

    function _conclude(Batch memory batch) private {
        if (batch.jobs == 0) return;
        if (batch.payers.length != 0) _checkPayers(batch);
        if (batch.revealers.length != 0) _recoverRevealers(batch);
        FailedClaim[] memory failures = _ask(batch);
        for (uint256 i = 0; i < failures.length; ++i) {
            FailedClaim failed = failures[i];
            bool unsigned = batch.keys.get(2 * failed.failedKey() + 1) == 0;
            batch.fail(failed.failedJob(), _reasonOf(failed.failure(), unsigned));
        }
        if (batch.reasons.length != 0) _dropFailed(batch);
        if (batch.jobs != 0) _post(batch);
    }

    function _checkPayers(Batch memory batch) private view {
        for (uint256 i = 0; i < batch.payers.length; ++i) {
            Signed memory payer = batch.payers[i];
            if (_speaksFor(_recoverList(TypedData.ORDERS_TYPEHASH, payer), payer.party)) continue;
            uint256 record = batch.records.first();
            for (uint256 job = 0; job < batch.jobs; ++job) {
                if (Raw.load(record + Records.REQUESTER) == uint160(payer.party)) {
                    batch.fail(job, Market_RequesterSignatureInvalid.selector);
                }
                record = Records.endOf(record, Raw.load(record + Records.COUNT));
            }
        }
    }

    function _recoverRevealers(Batch memory batch) private view {
        for (uint256 i = 0; i < batch.revealers.length; ++i) {
            Signed memory revealer = batch.revealers[i];
            batch.setSigner(i, _recoverList(TypedData.REVEALS_TYPEHASH, revealer));
        }
    }

    function _recoverList(bytes32 typehash, Signed memory signed) private view returns (address) {
        bytes32 hash = TypedData.hashWords(typehash, signed.hashes.take());
        return Signatures.recover(Desk.digest(uint256(hash)), signed.r, signed.vs);
    }

    /// @dev Asks Providers once for the whole batch.
    function _ask(Batch memory batch) private view returns (FailedClaim[] memory) {
        uint256 claimWords = batch.claims.count();
        Words claims = batch.claims.appendGrowing(batch.keys).appendGrowing(batch.seeds);
        bytes memory answer = claims.ask(
            address(PROVIDERS), IProviders.checkBatch.selector, claimWords, batch.keys.count() / 2
        );
        if (answer.length == NO_FAILURES_BYTES) return new FailedClaim[](0);
        return abi.decode(answer, (FailedClaim[]));
    }

    function _reasonOf(ClaimsResult result, bool unsigned) private pure returns (bytes4) {
        if (result == ClaimsResult.SeedUnknown) return Market_SeedUnknown.selector;
        if (result == ClaimsResult.SeedTooOld) return Market_SeedTooOld.selector;
        if (result == ClaimsResult.NotDrawn) return Market_OperatorNotDrawn.selector;
        return unsigned ? Market_RevealSignatureInvalid.selector : Market_SignerNotRegistered.selector;
    }

    /// @dev Moves the records of the good ones together.
    function _dropFailed(Batch memory batch) private {
        uint256 record = batch.records.first();
        uint256 to = record;
        uint256 kept = 0;
        for (uint256 job = 0; job < batch.jobs; ++job) {
            uint256 size = Records.endOf(0, Raw.load(record + Records.COUNT));
            bool refers = batch.refers(job);
            if (batch.reasons[job] == GOOD) {
                if (refers) batch.keepReferral(kept);
                ++kept;
                assembly ("memory-safe") {
                    mcopy(to, record, size)
                }
                to += size;
            } else {
                emit ReceiptSkipped(bytes32(Raw.load(record + Records.JOB)), batch.reasons[job]);
            }
            if (refers) ++batch.referral;
            record += size;
        }
        batch.cutReferrals();
        batch.records.extend(to);
        batch.jobs = kept;
    }

    // --- posting ------------------------------------------------------------------------------

    function _post(Batch memory batch) private {
        uint256 operators = batch.newestKeys.count();
        bytes memory answer = batch.records.tell(address(VAULT), IVault.post.selector, batch.jobs, operators);
        // No list has anything, nor is there anybody to tell Court of: nearly always.
        if (answer.length == NO_EXCEPTIONS_BYTES && Words.unwrap(batch.referrals) == 0) {
            _announceAll(batch.records);
        } else {
            (uint256[] memory refusals, uint256[] memory slashes) = abi.decode(answer, (uint256[], uint256[]));
            _announceEach(batch, refusals, slashes);
        }
    }

    /// @dev Announces jobs that were all posted as they are: `_announce` for each.
    function _announceAll(Words records) private {
        (uint256 record, uint256 last) = (records.first(), records.next());
        (bytes32 settled, bytes32 without) = (JobSettled.selector, JobWithoutQuorum.selector);
        assembly ("memory-safe") {
            for {} lt(record, last) {} {
                let end := add(add(record, 0xc0), shl(5, mload(add(record, 0xa0))))
                switch mload(add(record, 0x80))
                case 0x40 {
                    let data := add(record, 0x60)
                    log3(data, sub(end, data), settled, mload(record), mload(add(record, 0x20)))
                }
                default {
                    let data := add(record, 0x80)
                    log3(data, sub(end, data), without, mload(record), mload(add(record, 0x20)))
                }
                record := end
            }
        }
    }

    /// @dev Announces the jobs that were posted, with what was really slashed, and refers them to Court.
    function _announceEach(Batch memory batch, uint256[] memory refusals, uint256[] memory slashes) private {
        (uint256 refused, uint256 slashed) = (0, 0);
        uint256 record = batch.records.first();
        for (uint256 job = 0; job < batch.jobs; ++job) {
            uint256 end = Records.endOf(record, Raw.load(record + Records.COUNT));
            if (refused < refusals.length && refusals[refused] >> 8 == job) {
                bytes4 reason = _reasonOf(Refusal(refusals[refused++] & type(uint8).max));
                emit ReceiptSkipped(bytes32(Raw.load(record + Records.JOB)), reason);
            } else {
                if (slashed < slashes.length) slashed = _setSlashes(record, end, slashes, slashed);
                _announce(record, end);
                if (batch.refers(job)) _refer(batch, record, end);
            }
            if (batch.refers(job)) ++batch.referral;
            record = end;
        }
    }

    /// @dev A slash ends at the stake: what was really taken stands in the event.
    function _setSlashes(uint256 record, uint256 end, uint256[] memory slashes, uint256 slashed)
        private
        pure
        returns (uint256)
    {
        for (uint256 cursor = record + Records.SHARES; cursor < end; cursor += Raw.WORD) {
            uint256 share = Raw.load(cursor);
            if (Records.kindOf(share) != Records.SLASHED) continue;
            Raw.store(cursor, Records.withAmount(share, slashes[slashed++]));
        }
        return slashed;
    }

    /// @dev Everything a reader needs to follow the money without a call. The record holds the event's data as it is
    /// encoded, so it is logged where it lies: JobSettled(job, requester, vote, shares), or
    /// JobWithoutQuorum(job, requester, shares).
    function _announce(uint256 record, uint256 end) private {
        (bytes32 settled, bytes32 without) = (JobSettled.selector, JobWithoutQuorum.selector);
        assembly ("memory-safe") {
            let data := add(record, 0x80)
            let topic := without
            // Where the shares come after a vote the data starts with that.
            if eq(mload(data), 0x40) {
                data := add(record, 0x60)
                topic := settled
            }
            log3(data, sub(end, data), topic, mload(record), mload(add(record, 0x20)))
        }
    }

    /// @dev Somebody in this job may still be proved right or wrong.
    function _refer(Batch memory batch, uint256 record, uint256 end) private {
        (uint256 commits, uint256 terms) = batch.currentReferral();
        uint256 last = Raw.load(end - Raw.WORD);
        Share[] memory shares = new Share[](Raw.load(record + Records.COUNT) - 1);
        uint256 cursor = record + Records.SHARES;
        for (uint256 i = 0; i < shares.length; ++i) {
            shares[i] = Share.wrap(Records.withoutPlace(Raw.load(cursor)));
            cursor += Raw.WORD;
        }
        // Truncation is the extraction in all of these.
        // forge-lint: disable-start(unsafe-typecast)
        COURT.enter(
            Referral({
                job: bytes32(Raw.load(record + Records.JOB)),
                commits: bytes32(commits),
                requester: address(uint160(Raw.load(record + Records.REQUESTER))),
                scheduler: address(uint160(Records.partyOf(last))),
                fee: uint64(Records.amountOf(last)),
                bond: uint64(terms),
                auditBps: uint16(terms >> 64)
            }),
            shares
        );
        // forge-lint: disable-end(unsafe-typecast)
    }

    function _reasonOf(Refusal refusal) private pure returns (bytes4) {
        return refusal == Refusal.NonceSpent ? Market_NonceSpent.selector : Market_BudgetTooSmall.selector;
    }
}
