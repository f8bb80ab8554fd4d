// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {IMarket} from "./interfaces/IMarket.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Batch, Batches, Signed} from "./libraries/Batches.sol";
import {Packed} from "./libraries/Packed.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Tally} from "./libraries/Tally.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Words} from "./libraries/Words.sol";
import {Opened, Vote} from "./types/Opened.sol";
import {Order, Receipt, Replica} from "./types/Orders.sol";
import {Records, Refusal} from "./types/Records.sol";
import {ClaimsResult, FailedClaim, SeatClaim, SeedOf} from "./types/Seats.sol";
import {Share, ShareKind, toShare} from "./types/Share.sol";

/// @notice Judges receipts; see IMarket.
/// @dev Both forms of receipts are read into the same memory and judged by the same code, without touching state. What
/// only Providers can tell is asked in one call for all of them, and the good ones go to the Vault in another, which
/// still refuses those whose nonce or budget is spent by then.
contract Market is IMarket, EIP712 {
    using Batches for Batch;

    /// @notice Seconds that an order may lie ahead of its expiry when it is settled.
    uint256 public constant HORIZON = Parameters.HORIZON;
    /// @notice Most replicas of a job.
    uint256 public constant MAX_REPLICAS = Parameters.MAX_REPLICAS;
    /// @notice Share of rate x seconds that is paid when no quorum forms, in 1/10,000.
    uint256 public constant EFFORT_BPS = Parameters.EFFORT_BPS;

    bytes4 private constant GOOD = bytes4(0);

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
        SeedOf[] memory seeds = new SeedOf[](receipts.length);
        Batch memory batch = Batches.create(_domainSeparatorV4(), receipts.length, replicas, replicas, seeds);
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
        while (Packed.next(reader, opened, batch)) _judge(opened, batch);
        _conclude(batch);
    }

    /// @inheritdoc IMarket
    function commitDigest(bytes32 job, uint32 round, bytes32 commitment_) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashCommit(job, round, commitment_));
    }

    /// @inheritdoc IMarket
    function ordersDigest(bytes32[] calldata orders) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashList(TypedData.ORDERS_TYPEHASH, orders));
    }

    /// @inheritdoc IMarket
    function revealsDigest(bytes32[] calldata reveals) external view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashList(TypedData.REVEALS_TYPEHASH, reveals));
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
        opened.seed = batch.seedOf(opened.order);
    }

    // --- judging ------------------------------------------------------------------------------

    /// @dev Everything that makes a receipt true, cheapest first, and then its verdict. Reverts for nothing that
    /// a stranger can put into a receipt.
    function _judge(Opened memory opened, Batch memory batch) private {
        bytes32 orderHash = TypedData.hashOrderInPlace(opened.order);
        bytes32 job = TypedData.digest(batch.domain, orderHash);
        bytes4 reason = _checkOrder(opened.order, opened.count);
        if (reason == GOOD) reason = _checkVotes(opened.order, opened.votes, opened.count);
        bool listed = batch.payers.length + batch.revealers.length != 0;
        if (reason == GOOD || listed) {
            // Who signs once signs for the bad ones too.
            bytes4 other = _checkSignatures(opened, batch, job, orderHash);
            if (reason == GOOD) reason = other;
        }
        if (reason == GOOD) reason = _decide(opened, batch, job);
        if (reason != GOOD) emit ReceiptSkipped(job, reason);
    }

    function _checkOrder(Order memory order, uint256 replicas) private view returns (bytes4) {
        if (replicas != order.replicas || replicas == 0 || replicas > MAX_REPLICAS) {
            return Market_ReplicaCountInvalid.selector;
        }
        if (uint256(order.quorum) * 2 <= replicas || order.quorum > replicas) {
            return Market_QuorumInvalid.selector;
        }
        if (block.timestamp > order.expiry) return Market_OrderExpired.selector;
        if (order.expiry > block.timestamp + HORIZON) return Market_ExpiryTooFar.selector;
        return GOOD;
    }

    /// @dev With tickets strictly rising to `maxTicket` the scheduler may pass over the unwilling, but not shop
    /// around; an operator with many seats still has one vote.
    function _checkVotes(Order memory order, Vote[] memory votes, uint256 count)
        private
        pure
        returns (bytes4)
    {
        (uint256 maxRate, uint256 maxTicket) = (order.maxRate, order.maxTicket);
        uint256 last = 0;
        for (uint256 i = 0; i < count; ++i) {
            Vote memory vote = votes[i];
            if (vote.rate > maxRate) return Market_RateTooHigh.selector;
            if (vote.ticket > maxTicket) return Market_TicketTooHigh.selector;
            if (i != 0 && vote.ticket <= last) return Market_TicketsNotRising.selector;
            last = vote.ticket;
            for (uint256 earlier = 0; earlier < i; ++earlier) {
                if (votes[earlier].place == vote.place) return Market_OperatorTwice.selector;
            }
        }
        return GOOD;
    }

    /// @dev Each reveal is signed over the whole commit set: after the first of them nobody can change an answer.
    function _checkSignatures(Opened memory opened, Batch memory batch, bytes32 job, bytes32 orderHash)
        private
        view
        returns (bytes4 reason)
    {
        if (batch.payers.length != 0) {
            Batches.list(batch.payers[opened.payer], orderHash);
        } else if (!_signedFor(opened.order.requester, Signatures.recover(job, opened.r, opened.vs))) {
            reason = Market_RequesterSignatureInvalid.selector;
            if (batch.revealers.length == 0) return reason;
        }
        bytes32 commits = TypedData.hashCommits(opened, job);
        for (uint256 i = 0; i < opened.count; ++i) {
            Vote memory vote = opened.votes[i];
            bytes32 hash = TypedData.hashOpenedReveal(vote, commits);
            if (batch.revealers.length != 0) {
                Batches.list(batch.revealers[vote.place], hash);
                vote.key = vote.place;
                continue;
            }
            address signer = Signatures.recover(TypedData.digest(batch.domain, hash), vote.r, vote.vs);
            if (signer == address(0)) return Market_RevealSignatureInvalid.selector;
            vote.key = batch.keyOf(vote.place, vote.operator, signer);
        }
    }

    /// @dev Plain ECDSA by the requester's own key, or by one that it registered, which is how a smart wallet orders:
    /// a contract's own signature could be taken back once the work is done, a registered key cannot.
    function _signedFor(address requester, address signer) private view returns (bool) {
        if (signer == address(0)) return false;
        return signer == requester || PROVIDERS.isSigner(requester, signer);
    }

    // --- deciding -----------------------------------------------------------------------------

    /// @dev Tallies the votes and adds the job to the batch.
    function _decide(Opened memory opened, Batch memory batch, bytes32 job) private pure returns (bytes4) {
        (uint256 winners, uint256 secs) = _tally(opened, batch);
        uint256 start = batch.records.count();
        _writeHead(opened, batch.records, winners, secs);
        for (uint256 i = 0; i < opened.count; ++i) {
            Vote memory vote = opened.votes[i];
            (uint256 amount, ShareKind kind) =
                _dueTo(opened.order, vote, winners >> i & 1 == 1, winners, secs);
            // No budget holds more than 64 bits of money.
            if (amount > type(uint64).max) {
                batch.records.rewind(start);
                return Market_BudgetTooSmall.selector;
            }
            // forge-lint: disable-next-line(unsafe-typecast)
            Share share = toShare(vote.operator, uint64(amount), kind).withPlace(vote.place);
            batch.records.push(Share.unwrap(share));
        }
        uint64 fee = winners == 0 ? 0 : opened.order.fee;
        batch.records.push(Share.unwrap(toShare(opened.order.scheduler, fee, ShareKind.Fee)));
        _claim(opened, batch);
        batch.jobs.push(uint256(job));
        if (batch.payers.length != 0) batch.payerOf.push(opened.payer);
        return GOOD;
    }

    function _tally(Opened memory opened, Batch memory batch)
        private
        pure
        returns (uint256 winners, uint256 secs)
    {
        uint256[] memory votes = batch.tally;
        uint256 count = opened.count;
        assembly ("memory-safe") {
            mstore(votes, count) // at most as many as it was made for
        }
        for (uint256 i = 0; i < count; ++i) {
            Vote memory vote = opened.votes[i];
            // Seconds came as 32 bits.
            // forge-lint: disable-next-line(unsafe-typecast)
            votes[i] = Tally.toVote(vote.tag, uint32(vote.secs));
        }
        return Tally.count(votes, opened.order.quorum, opened.order.maxSeconds);
    }

    function _writeHead(Opened memory opened, Words memory records, uint256 winners, uint256 secs)
        private
        pure
    {
        records.push(uint160(opened.order.requester));
        records.push(opened.order.nonce);
        if (winners == 0) {
            records.push(0);
            records.push(Records.OFFSET_WITHOUT_QUORUM);
        } else {
            uint256 first = 0;
            while (winners >> first & 1 == 0) ++first;
            // Paid seconds are the smaller of two 32-bit values.
            // forge-lint: disable-next-line(unsafe-typecast)
            records.push(Tally.toVote(opened.votes[first].tag, uint32(secs)));
            records.push(Records.OFFSET_WITH_QUORUM);
        }
        records.push(opened.count + 1);
    }

    function _dueTo(Order memory order, Vote memory vote, bool won, uint256 winners, uint256 secs)
        private
        pure
        returns (uint256 amount, ShareKind kind)
    {
        if (won) return (vote.rate * secs, ShareKind.Won);
        if (winners != 0) return (order.bond, ShareKind.Slashed);
        uint256 own = vote.secs < order.maxSeconds ? vote.secs : order.maxSeconds;
        return (vote.rate * own * EFFORT_BPS / Parameters.BPS, ShareKind.Effort);
    }

    /// @dev See SeatClaim.
    function _claim(Opened memory opened, Batch memory batch) private pure {
        uint256 places = batch.jobs.count() << 168 | opened.seed << 192;
        for (uint256 i = 0; i < opened.count; ++i) {
            Vote memory vote = opened.votes[i];
            batch.claims.push(uint160(vote.operator) | vote.ticket << 160 | places | vote.key << 216);
        }
    }

    // --- concluding ---------------------------------------------------------------------------

    function _conclude(Batch memory batch) private {
        _recoverPayers(batch);
        _recoverRevealers(batch);
        if (batch.jobs.count() == 0) return;
        _confirm(batch);
        if (batch.failed != 0) _dropFailed(batch);
        if (batch.jobs.count() != 0) _post(batch);
    }

    function _recoverPayers(Batch memory batch) private view {
        if (batch.payers.length == 0) return;
        bool[] memory signed = new bool[](batch.payers.length);
        for (uint256 i = 0; i < signed.length; ++i) {
            Signed memory payer = batch.payers[i];
            signed[i] = _signedFor(payer.party, _recoverList(batch.domain, TypedData.ORDERS_TYPEHASH, payer));
        }
        for (uint256 job = 0; job < batch.jobs.count(); ++job) {
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
        bytes32 hash = TypedData.hashList(typehash, signed.hashes.takeBytes32());
        return Signatures.recover(TypedData.digest(domain, hash), signed.r, signed.vs);
    }

    /// @dev Asks Providers once for the whole batch.
    function _confirm(Batch memory batch) private view {
        address[] memory keys = batch.keys.takeAddresses();
        FailedClaim[] memory failures = PROVIDERS.checkBatch(
            batch.takeSeeds(), batch.jobs.takeBytes32(), _toClaims(batch.claims.take()), keys
        );
        for (uint256 i = 0; i < failures.length; ++i) {
            FailedClaim failed = failures[i];
            batch.fail(failed.failedJob(), _reasonOf(failed.failure(), keys[2 * failed.failedKey() + 1]));
        }
    }

    function _toClaims(uint256[] memory words) private pure returns (SeatClaim[] memory claims) {
        assembly ("memory-safe") {
            claims := words
        }
    }

    function _reasonOf(ClaimsResult result, address signer) private pure returns (bytes4) {
        if (result == ClaimsResult.SeedUnknown) return Market_SeedUnknown.selector;
        if (result == ClaimsResult.SeedTooOld) return Market_SeedTooOld.selector;
        if (result == ClaimsResult.NotDrawn) return Market_OperatorNotDrawn.selector;
        if (signer == address(0)) return Market_RevealSignatureInvalid.selector;
        return Market_SignerNotRegistered.selector;
    }

    /// @dev Moves the good ones together.
    function _dropFailed(Batch memory batch) private {
        (uint256 from, uint256 to, uint256 kept) = (0, 0, 0);
        Words memory records = batch.records;
        for (uint256 job = 0; job < batch.jobs.count(); ++job) {
            uint256 size = Records.SHARES + records.get(from + Records.COUNT);
            if (batch.reasons[job] != GOOD) {
                emit ReceiptSkipped(bytes32(batch.jobs.get(job)), batch.reasons[job]);
                from += size;
                continue;
            }
            batch.jobs.set(kept++, batch.jobs.get(job));
            for (uint256 n = 0; n < size; ++n) {
                records.set(to++, records.get(from++));
            }
        }
        batch.jobs.rewind(kept);
        records.rewind(to);
    }

    // --- posting ------------------------------------------------------------------------------

    function _post(Batch memory batch) private {
        uint256[] memory records = batch.records.take();
        (uint256[] memory refusals, uint64[] memory slashes) = VAULT.post(records, batch.operators.count());
        (uint256 start, uint256 refused, uint256 slashed) = (0, 0, 0);
        uint256 count = batch.jobs.count();
        for (uint256 job = 0; job < count; ++job) {
            uint256 shares = records[start + Records.COUNT];
            bytes32 id = bytes32(batch.jobs.get(job));
            if (refused < refusals.length && refusals[refused] >> 8 == job) {
                emit ReceiptSkipped(id, _reasonOf(Refusal(refusals[refused++] & type(uint8).max)));
            } else {
                if (slashed < slashes.length) slashed = _setSlashes(records, start, slashes, slashed);
                _announce(id, records, start, shares);
            }
            start += Records.SHARES + shares;
        }
    }

    /// @dev A slash ends at the stake: what was really taken stands in the event.
    function _setSlashes(uint256[] memory records, uint256 start, uint64[] memory slashes, uint256 slashed)
        private
        pure
        returns (uint256)
    {
        uint256 end = start + Records.SHARES + records[start + Records.COUNT];
        for (uint256 n = start + Records.SHARES; n < end; ++n) {
            Share share = Share.wrap(records[n]);
            if (share.kindOf() != ShareKind.Slashed) continue;
            records[n] = Share.unwrap(share.withAmount(slashes[slashed++]));
        }
        return slashed;
    }

    /// @dev Everything a reader needs to follow the money without a call. The record holds the event's data as it is
    /// encoded, so it is logged where it lies: JobSettled(job, requester, vote, shares), or
    /// JobWithoutQuorum(job, requester, shares).
    function _announce(bytes32 job, uint256[] memory records, uint256 start, uint256 shares) private {
        bool agreed = records[start + Records.OFFSET] == Records.OFFSET_WITH_QUORUM;
        bytes32 topic = agreed ? JobSettled.selector : JobWithoutQuorum.selector;
        uint256 first = start + (agreed ? Records.VOTE : Records.OFFSET);
        uint256 size = (start + Records.SHARES + shares - first) * 32;
        assembly ("memory-safe") {
            let data := add(add(records, 0x20), shl(5, first))
            let requester := mload(add(add(records, 0x20), shl(5, start)))
            log3(data, size, topic, job, requester)
        }
    }

    function _reasonOf(Refusal refusal) private pure returns (bytes4) {
        return refusal == Refusal.NonceSpent ? Market_NonceSpent.selector : Market_BudgetTooSmall.selector;
    }
}
