// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {IMarket} from "./interfaces/IMarket.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Batch, Batches, Signed, Sizes} from "./libraries/Batches.sol";
import {Judge} from "./libraries/Judge.sol";
import {Packed} from "./libraries/Packed.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Records} from "./libraries/Records.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Words} from "./libraries/Words.sol";
import {Opened, Vote} from "./types/Opened.sol";
import {Order, Receipt, Replica} from "./types/Orders.sol";
import {ClaimsResult, FailedClaim} from "./types/Seats.sol";
import {Share, ShareKind} from "./types/Share.sol";
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

    IVault private immutable VAULT;
    IProviders private immutable PROVIDERS;

    constructor(IVault vault_, IProviders providers_) EIP712("Assay", "1") {
        if (vault_.market() != address(this)) revert Market_WiredToOther(vault_.market());
        if (vault_.providers() != address(providers_)) revert Market_WiredToOther(vault_.providers());
        VAULT = vault_;
        PROVIDERS = providers_;
    }

    /// @inheritdoc IMarket
    function settle(Receipt[] calldata receipts) external {
        uint256 replicas = 0;
        for (uint256 i = 0; i < receipts.length; ++i) {
            replicas += receipts[i].replicas.length;
        }
        Sizes memory sizes = Sizes(receipts.length, replicas, replicas, receipts.length);
        Batch memory batch = Batches.create(_domainSeparatorV4(), sizes);
        Opened memory opened = Batches.createOpened();
        for (uint256 i = 0; i < receipts.length; ++i) {
            _open(receipts[i], opened, batch);
            _judge(opened, batch);
        }
        _conclude(batch);
    }

    /// @inheritdoc IMarket
    function settlePacked(bytes calldata packed) external {
        (Packed.Reader memory reader, Batch memory batch) = Packed.open(packed, _domainSeparatorV4());
        Opened memory opened = Batches.createOpened();
        while (Packed.next(reader, opened)) _judge(opened, batch);
        Packed.close(reader, batch);
        _conclude(batch);
    }

    /// @inheritdoc IMarket
    function commitDigest(bytes32 job, uint32 round, bytes32 commitment_) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashCommit(job, round, commitment_));
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

    // --- opening ------------------------------------------------------------------------------

    /// @dev Reads an ABI receipt into memory. One with too many replicas is opened as far as there is room: its count
    /// alone makes it bad.
    function _open(Receipt calldata receipt, Opened memory opened, Batch memory batch) private pure {
        opened.order = receipt.order;
        (opened.r, opened.vs) = Signatures.compact(receipt.requesterSig);
        opened.count = receipt.replicas.length;
        for (uint256 i = 0; i < opened.count && i < MAX_REPLICAS; ++i) {
            Replica calldata replica = receipt.replicas[i];
            Vote memory vote = opened.votes[i];
            vote.operator = replica.operator;
            vote.tag = replica.tag;
            vote.secs = replica.secs;
            vote.salt = replica.salt;
            vote.rate = replica.rate;
            vote.ticket = replica.ticket;
            vote.place = batch.placeOf(replica.operator);
            (vote.r, vote.vs) = Signatures.compact(replica.sig);
        }
        opened.seed = batch.seedOf(opened.order.hardwareClass, opened.order.seedBlock);
    }

    // --- judging ------------------------------------------------------------------------------

    /// @dev Everything that makes a receipt true, cheapest first, and then its verdict. Reverts for nothing that
    /// a stranger can put into a receipt.
    function _judge(Opened memory opened, Batch memory batch) private {
        bytes32 orderHash = TypedData.hashOrderInPlace(opened.order);
        bytes32 job = TypedData.digest(batch.domain, orderHash);
        bytes4 reason = Judge.checkOrder(opened.order, opened.count);
        if (reason == GOOD) reason = Judge.checkVotes(opened);
        if (reason == GOOD || batch.payers.length + batch.revealers.length != 0) {
            // Who signs once signs for the bad ones too.
            bytes4 other = _checkSignatures(opened, batch, job, orderHash);
            if (reason == GOOD) reason = other;
        }
        if (reason == GOOD) reason = _decide(opened, batch, job);
        if (reason != GOOD) emit ReceiptSkipped(job, reason);
    }

    /// @dev Each reveal is signed over the whole commit set: after the first of them nobody can change an answer.
    function _checkSignatures(Opened memory opened, Batch memory batch, bytes32 job, bytes32 orderHash)
        private
        view
        returns (bytes4 reason)
    {
        if (batch.payers.length != 0) {
            batch.payers[opened.payer].list(orderHash);
        } else if (!_signedFor(opened.order.requester, Signatures.recover(job, opened.r, opened.vs))) {
            reason = Market_RequesterSignatureInvalid.selector;
            if (batch.revealers.length == 0) return reason;
        }
        bytes32 commits = TypedData.hashCommits(opened, job);
        if (batch.revealers.length != 0) {
            _listReveals(opened, batch, commits);
        } else {
            bytes4 other = _recoverReveals(opened, batch, commits);
            if (reason == GOOD) reason = other;
        }
    }

    function _listReveals(Opened memory opened, Batch memory batch, bytes32 commits) private pure {
        uint256 count = opened.count;
        for (uint256 i = 0; i < count; ++i) {
            Vote memory vote = opened.votes[i];
            batch.revealers[vote.place].list(TypedData.hashOpenedReveal(vote, commits));
            vote.key = vote.place;
        }
    }

    function _recoverReveals(Opened memory opened, Batch memory batch, bytes32 commits)
        private
        view
        returns (bytes4)
    {
        (bytes32 domain, uint256 count) = (batch.domain, opened.count);
        for (uint256 i = 0; i < count; ++i) {
            Vote memory vote = opened.votes[i];
            bytes32 digest = TypedData.digest(domain, TypedData.hashOpenedReveal(vote, commits));
            address signer = Signatures.recover(digest, vote.r, vote.vs);
            if (signer == address(0)) return Market_RevealSignatureInvalid.selector;
            vote.key = batch.keyOf(vote.place, vote.operator, signer);
        }
        return GOOD;
    }

    /// @dev Plain ECDSA by the requester's own key, or by one that it registered, which is how a smart wallet orders:
    /// a contract's own signature could be taken back once the work is done, a registered key cannot.
    function _signedFor(address requester, address signer) private view returns (bool) {
        if (signer == address(0)) return false;
        return signer == requester || PROVIDERS.isSigner(requester, signer);
    }

    /// @dev Tallies the votes and adds the job to the batch.
    function _decide(Opened memory opened, Batch memory batch, bytes32 job) private pure returns (bytes4) {
        // No budget holds more than 64 bits of money.
        if (!Judge.decide(opened, batch, job)) return Market_BudgetTooSmall.selector;
        Judge.claim(opened, batch, job);
        if (batch.payers.length != 0) batch.payerOf.push(opened.payer);
        ++batch.jobs;
        return GOOD;
    }

    // --- concluding ---------------------------------------------------------------------------

    function _conclude(Batch memory batch) private {
        if (batch.jobs == 0) return;
        if (batch.payers.length != 0) _checkPayers(batch);
        if (batch.revealers.length != 0) _recoverRevealers(batch);
        _confirm(batch);
        if (batch.reasons.length != 0) _dropFailed(batch);
        if (batch.jobs != 0) _post(batch);
    }

    function _checkPayers(Batch memory batch) private view {
        bool[] memory signed = new bool[](batch.payers.length);
        bool all = true;
        for (uint256 i = 0; i < signed.length; ++i) {
            Signed memory payer = batch.payers[i];
            signed[i] = _signedFor(payer.party, _recoverList(batch.domain, TypedData.ORDERS_TYPEHASH, payer));
            all = all && signed[i];
        }
        for (uint256 job = 0; !all && job < batch.jobs; ++job) {
            if (!signed[batch.payerOf.get(job)]) batch.fail(job, Market_RequesterSignatureInvalid.selector);
        }
    }

    function _recoverRevealers(Batch memory batch) private view {
        for (uint256 i = 0; i < batch.revealers.length; ++i) {
            Signed memory revealer = batch.revealers[i];
            batch.keys.push(uint160(revealer.party));
            batch.keys.push(uint160(_recoverList(batch.domain, TypedData.REVEALS_TYPEHASH, revealer)));
        }
    }

    function _recoverList(bytes32 domain, bytes32 typehash, Signed memory signed)
        private
        view
        returns (address)
    {
        bytes32 hash = TypedData.hashWords(typehash, signed.hashes.take());
        return Signatures.recover(TypedData.digest(domain, hash), signed.r, signed.vs);
    }

    /// @dev Asks Providers once for the whole batch.
    function _confirm(Batch memory batch) private view {
        Words memory claims = batch.claims;
        uint256 claimWords = claims.count();
        claims.append(batch.keys);
        claims.append(batch.seeds);
        bytes memory answer = claims.ask(
            address(PROVIDERS), IProviders.checkBatch.selector, claimWords, batch.keys.count() / 2
        );
        FailedClaim[] memory failures = abi.decode(answer, (FailedClaim[]));
        for (uint256 i = 0; i < failures.length; ++i) {
            FailedClaim failed = failures[i];
            bool unsigned = batch.keys.get(2 * failed.failedKey() + 1) == 0;
            batch.fail(failed.failedJob(), _reasonOf(failed.failure(), unsigned));
        }
    }

    function _reasonOf(ClaimsResult result, bool unsigned) private pure returns (bytes4) {
        if (result == ClaimsResult.SeedUnknown) return Market_SeedUnknown.selector;
        if (result == ClaimsResult.SeedTooOld) return Market_SeedTooOld.selector;
        if (result == ClaimsResult.NotDrawn) return Market_OperatorNotDrawn.selector;
        return unsigned ? Market_RevealSignatureInvalid.selector : Market_SignerNotRegistered.selector;
    }

    /// @dev Moves the records of the good ones together.
    function _dropFailed(Batch memory batch) private {
        Words memory records = batch.records;
        (uint256 from, uint256 to, uint256 kept) = (0, 0, 0);
        for (uint256 job = 0; job < batch.jobs; ++job) {
            uint256 end = from + Records.HEAD_WORDS + records.get(from + Records.COUNT_AT);
            if (batch.reasons[job] == GOOD) {
                ++kept;
                while (from < end) records.set(to++, records.get(from++));
            } else {
                emit ReceiptSkipped(bytes32(records.get(from)), batch.reasons[job]);
                from = end;
            }
        }
        records.rewind(to);
        batch.jobs = kept;
    }

    // --- posting ------------------------------------------------------------------------------

    function _post(Batch memory batch) private {
        bytes memory answer =
            batch.records.tell(address(VAULT), IVault.post.selector, batch.jobs, batch.operators.count());
        (uint256[] memory refusals, uint256[] memory slashes) = abi.decode(answer, (uint256[], uint256[]));
        uint256[] memory records = batch.records.items;
        (uint256 start, uint256 refused, uint256 slashed) = (0, 0, 0);
        for (uint256 job = 0; job < batch.jobs; ++job) {
            uint256 end = start + Records.HEAD_WORDS + records[start + Records.COUNT_AT];
            if (refused < refusals.length && refusals[refused] >> 8 == job) {
                bytes4 reason = _reasonOf(Refusal(refusals[refused++] & type(uint8).max));
                emit ReceiptSkipped(bytes32(records[start]), reason);
            } else {
                if (slashed < slashes.length) {
                    slashed = _setSlashes(records, start + Records.HEAD_WORDS, end, slashes, slashed);
                }
                _announce(records, start, end);
            }
            start = end;
        }
    }

    /// @dev A slash ends at the stake: what was really taken stands in the event.
    function _setSlashes(
        uint256[] memory records,
        uint256 from,
        uint256 end,
        uint256[] memory slashes,
        uint256 slashed
    ) private pure returns (uint256) {
        for (; from < end; ++from) {
            Share share = Share.wrap(records[from]);
            if (share.kindOf() != ShareKind.Slashed) continue;
            // The Vault counts in 64 bits.
            // forge-lint: disable-next-line(unsafe-typecast)
            records[from] = Share.unwrap(share.withAmount(uint64(slashes[slashed++])));
        }
        return slashed;
    }

    /// @dev Everything a reader needs to follow the money without a call. The record holds the event's data as it is
    /// encoded, so it is logged where it lies: JobSettled(job, requester, vote, shares), or
    /// JobWithoutQuorum(job, requester, shares).
    function _announce(uint256[] memory records, uint256 start, uint256 end) private {
        (bytes32 settled, bytes32 split) = (JobSettled.selector, JobWithoutQuorum.selector);
        assembly ("memory-safe") {
            let record := add(add(records, 0x20), shl(5, start))
            let vote := add(record, 0x60)
            let offset := add(record, 0x80)
            let topic := settled
            if eq(mload(offset), 0x20) {
                topic := split
                vote := offset // there is none
            }
            let size := sub(add(add(records, 0x20), shl(5, end)), vote)
            log3(vote, size, topic, mload(record), mload(add(record, 0x20)))
        }
    }

    function _reasonOf(Refusal refusal) private pure returns (bytes4) {
        return refusal == Refusal.NonceSpent ? Market_NonceSpent.selector : Market_BudgetTooSmall.selector;
    }
}
