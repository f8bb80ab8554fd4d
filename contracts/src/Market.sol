// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {ICourt} from "./interfaces/ICourt.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Tally} from "./libraries/Tally.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Posting, PostingResult} from "./types/Accounts.sol";
import {Referral} from "./types/Courts.sol";
import {Order, Receipt, Replica} from "./types/Orders.sol";
import {Claim, ClaimsResult} from "./types/Seats.sol";
import {Share, ShareKind, toShare} from "./types/Share.sol";

/// @notice Judges receipts; see IMarket.
/// @dev Each receipt is judged without touching state; the good ones go to the Vault in one call, which still
/// refuses those whose nonce or budget is spent by then.
contract Market is IMarket, EIP712 {
    /// @dev What the events say of a job, beside its posting.
    struct Verdict {
        bytes32 job;
        /// The number of its receipt, plus one, where somebody may still be proved right or wrong.
        uint256 toCourt;
        bytes32 tag;
        uint256 winners;
        uint32 secs;
    }

    /// @dev The good receipts of a batch. Arrays are sized for all of them and cut to what was used.
    struct Batch {
        uint256 length;
        uint256 shareCount;
        /// The number of the one that is judged, plus one.
        uint256 receipt;
        Verdict[] verdicts;
        Posting[] postings;
        Share[] shares;
    }

    /// @notice Seconds that an order may lie ahead of its expiry when it is settled.
    uint256 public constant HORIZON = Parameters.HORIZON;
    /// @notice Most replicas of a job.
    uint256 public constant MAX_REPLICAS = Parameters.MAX_REPLICAS;
    /// @notice Share of rate x seconds that is paid when no quorum forms, in 1/10,000.
    uint256 public constant EFFORT_BPS = Parameters.EFFORT_BPS;

    bytes4 private constant GOOD = bytes4(0);

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
        Batch memory batch = _emptyBatch(receipts);
        for (uint256 i = 0; i < receipts.length; ++i) {
            uint256 freeMemory;
            assembly ("memory-safe") {
                freeMemory := mload(0x40)
            }
            bytes32 job = jobId(receipts[i].order);
            batch.receipt = i + 1;
            bytes4 reason = _judge(receipts[i], job, batch);
            if (reason != GOOD) emit ReceiptSkipped(job, reason);
            // What a verdict needs lies in the batch. Memory would else cost the square of the receipts.
            assembly ("memory-safe") {
                mstore(0x40, freeMemory)
            }
        }
        if (batch.length != 0) _post(batch, receipts);
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
    function court() external view returns (ICourt) {
        return COURT;
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
    function jobId(Order calldata order) public view returns (bytes32) {
        return _hashTypedDataV4(TypedData.hashOrder(order));
    }

    /// @inheritdoc IMarket
    function revealDigest(bytes32 job, bytes32 commits, bytes32 tag, uint64 rate, uint32 secs)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(TypedData.hashReveal(job, commits, tag, rate, secs));
    }

    // --- judging ------------------------------------------------------------------------------

    /// @dev Everything that makes a receipt true, cheapest first, and then its verdict. Reverts for nothing that
    /// a stranger can put into a receipt.
    function _judge(Receipt calldata receipt, bytes32 job, Batch memory batch)
        private
        view
        returns (bytes4 reason)
    {
        Order calldata order = receipt.order;
        Replica[] calldata replicas = receipt.replicas;
        reason = _checkOrder(order, replicas.length);
        if (reason != GOOD) return reason;
        reason = _checkReplicas(order, replicas);
        if (reason != GOOD) return reason;
        if (!_signedBy(order.requester, job, receipt.requesterSig)) {
            return Market_RequesterSignatureInvalid.selector;
        }
        reason = _checkReveals(order, replicas, job);
        if (reason != GOOD) return reason;
        return _decide(order, replicas, job, batch);
    }

    function _checkOrder(Order calldata order, uint256 replicas) private view returns (bytes4) {
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
    function _checkReplicas(Order calldata order, Replica[] calldata replicas) private pure returns (bytes4) {
        for (uint256 i = 0; i < replicas.length; ++i) {
            Replica calldata replica = replicas[i];
            if (replica.rate > order.maxRate) return Market_RateTooHigh.selector;
            if (replica.ticket > order.maxTicket) return Market_TicketTooHigh.selector;
            if (i != 0 && replica.ticket <= replicas[i - 1].ticket) return Market_TicketsNotRising.selector;
            for (uint256 earlier = 0; earlier < i; ++earlier) {
                if (replicas[earlier].operator == replica.operator) return Market_OperatorTwice.selector;
            }
        }
        return GOOD;
    }

    /// @dev Each reveal is signed over the whole commit set: after the first of them nobody can change an answer.
    function _checkReveals(Order calldata order, Replica[] calldata replicas, bytes32 job)
        private
        view
        returns (bytes4)
    {
        bytes32 commits = _commitSet(replicas, job);
        Claim[] memory claims = new Claim[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            Replica calldata replica = replicas[i];
            bytes32 digest = revealDigest(job, commits, replica.tag, replica.rate, replica.secs);
            (address signer, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, replica.sig);
            if (err != ECDSA.RecoverError.NoError) return Market_RevealSignatureInvalid.selector;
            claims[i] = Claim(replica.ticket, replica.operator, signer);
        }
        ClaimsResult result = PROVIDERS.check(order.hardwareClass, order.seedBlock, job, claims);
        if (result == ClaimsResult.Valid) return GOOD;
        if (result == ClaimsResult.SeedUnknown) return Market_SeedUnknown.selector;
        if (result == ClaimsResult.SeedTooOld) return Market_SeedTooOld.selector;
        if (result == ClaimsResult.NotDrawn) return Market_OperatorNotDrawn.selector;
        return Market_SignerNotRegistered.selector;
    }

    function _commitSet(Replica[] calldata replicas, bytes32 job) private pure returns (bytes32) {
        bytes32[] memory commits = new bytes32[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            Replica calldata replica = replicas[i];
            commits[i] =
                TypedData.hashCommitment(job, replica.operator, replica.tag, replica.secs, replica.salt);
        }
        return keccak256(abi.encodePacked(commits));
    }

    /// @dev Plain ECDSA by a key: a contract could take its word back once the work is done.
    function _signedBy(address signer, bytes32 digest, bytes calldata signature) private pure returns (bool) {
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, signature);
        return err == ECDSA.RecoverError.NoError && recovered == signer;
    }

    // --- deciding -----------------------------------------------------------------------------

    /// @dev Tallies the votes and adds the job to the batch.
    function _decide(Order calldata order, Replica[] calldata replicas, bytes32 job, Batch memory batch)
        private
        pure
        returns (bytes4)
    {
        uint256[] memory votes = new uint256[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            votes[i] = Tally.toVote(replicas[i].tag, replicas[i].secs);
        }
        (uint256 winners, uint256 secs) = Tally.count(votes, order.quorum, order.maxSeconds);
        uint256 firstShare = batch.shareCount;
        for (uint256 i = 0; i < replicas.length; ++i) {
            (uint256 amount, ShareKind kind) = _dueTo(order, replicas[i], winners, secs, i);
            // No budget holds more than 64 bits of money.
            if (amount > type(uint64).max) return Market_BudgetTooSmall.selector;
            // forge-lint: disable-next-line(unsafe-typecast)
            batch.shares[firstShare + i] = toShare(replicas[i].operator, uint64(amount), kind);
        }
        batch.shareCount = firstShare + replicas.length;

        Verdict memory verdict = batch.verdicts[batch.length];
        verdict.job = job;
        verdict.winners = winners;
        // Paid seconds are the smaller of two 32-bit values.
        // forge-lint: disable-next-line(unsafe-typecast)
        verdict.secs = uint32(secs);
        if (winners != 0) verdict.tag = _firstWinner(replicas, winners).tag;
        if (_concernsCourt(order, winners)) verdict.toCourt = batch.receipt;

        Posting memory posting = batch.postings[batch.length];
        posting.requester = order.requester;
        posting.scheduler = order.scheduler;
        posting.nonce = order.nonce;
        posting.fee = winners == 0 ? 0 : order.fee;
        // At most MAX_REPLICAS.
        // forge-lint: disable-next-line(unsafe-typecast)
        posting.shares = uint8(replicas.length);
        ++batch.length;
        return GOOD;
    }

    function _dueTo(Order calldata order, Replica calldata replica, uint256 winners, uint256 secs, uint256 i)
        private
        pure
        returns (uint256 amount, ShareKind kind)
    {
        if (winners == 0) {
            uint256 own = replica.secs < order.maxSeconds ? replica.secs : order.maxSeconds;
            return (replica.rate * own * EFFORT_BPS / Parameters.BPS, ShareKind.Effort);
        }
        if (winners >> i & 1 == 1) return (replica.rate * secs, ShareKind.Won);
        return (order.bond, ShareKind.Slashed);
    }

    function _concernsCourt(Order calldata order, uint256 winners) private pure returns (bool) {
        if (winners == 0) return order.escalate;
        return order.auditBps != 0 || winners + 1 != uint256(1) << order.replicas;
    }

    function _firstWinner(Replica[] calldata replicas, uint256 winners)
        private
        pure
        returns (Replica calldata)
    {
        uint256 i = 0;
        while (winners >> i & 1 == 0) ++i;
        return replicas[i];
    }

    // --- posting ------------------------------------------------------------------------------

    function _emptyBatch(Receipt[] calldata receipts) private pure returns (Batch memory batch) {
        uint256 replicas = 0;
        for (uint256 i = 0; i < receipts.length; ++i) {
            replicas += receipts[i].replicas.length;
        }
        batch.verdicts = new Verdict[](receipts.length);
        batch.postings = new Posting[](receipts.length);
        batch.shares = new Share[](replicas);
    }

    function _post(Batch memory batch, Receipt[] calldata receipts) private {
        (Posting[] memory postings, Share[] memory shares) = (batch.postings, batch.shares);
        (uint256 length, uint256 shareCount) = (batch.length, batch.shareCount);
        assembly ("memory-safe") {
            mstore(postings, length)
            mstore(shares, shareCount)
        }
        (PostingResult[] memory results, uint64[] memory moved) = VAULT.post(postings, shares);
        uint256 share = 0;
        for (uint256 i = 0; i < length; ++i) {
            if (results[i] == PostingResult.Done) {
                _announce(batch.verdicts[i], postings[i], shares, moved, share);
                (bytes32 job, uint256 toCourt) = (batch.verdicts[i].job, batch.verdicts[i].toCourt);
                if (toCourt != 0) _refer(receipts[toCourt - 1], job, shares, moved, share);
            } else {
                emit ReceiptSkipped(batch.verdicts[i].job, _reasonOf(results[i]));
            }
            share += postings[i].shares;
        }
    }

    /// @dev Everything a reader needs to follow the money without a call.
    function _announce(
        Verdict memory verdict,
        Posting memory posting,
        Share[] memory shares,
        uint64[] memory moved,
        uint256 first
    ) private {
        uint64 cost = posting.fee;
        for (uint256 n = first; n < first + posting.shares; ++n) {
            if (shares[n].kindOf() == ShareKind.Slashed) {
                emit ProviderSlashed(verdict.job, shares[n].operatorOf(), moved[n]);
            } else {
                cost += moved[n];
                emit ProviderPaid(verdict.job, shares[n].operatorOf(), moved[n]);
            }
        }
        if (verdict.winners == 0) {
            emit JobWithoutQuorum(verdict.job, posting.requester, posting.scheduler, cost);
        } else {
            emit JobSettled(
                verdict.job,
                posting.requester,
                posting.scheduler,
                verdict.tag,
                verdict.winners,
                verdict.secs,
                posting.fee,
                cost
            );
        }
    }

    function _refer(
        Receipt calldata receipt,
        bytes32 job,
        Share[] memory shares,
        uint64[] memory moved,
        uint256 first
    ) private {
        Order calldata order = receipt.order;
        uint256 count = order.replicas;
        Share[] memory parts = new Share[](count);
        for (uint256 i = 0; i < count; ++i) {
            Share share = shares[first + i];
            parts[i] = toShare(share.operatorOf(), moved[first + i], share.kindOf());
        }
        bytes32 commits = _commitSet(receipt.replicas, job);
        COURT.enter(
            Referral(job, commits, order.requester, order.scheduler, order.fee, order.bond, order.auditBps),
            parts
        );
    }

    function _reasonOf(PostingResult result) private pure returns (bytes4) {
        return
            result == PostingResult.NonceSpent ? Market_NonceSpent.selector : Market_BudgetTooSmall.selector;
    }

    // --- for the on-chain road ----------------------------------------------------------------

    /// @inheritdoc IMarket
    function judge(Receipt calldata receipt)
        external
        view
        returns (bytes4 reason, uint256 winners, uint256 secs)
    {
        Order calldata order = receipt.order;
        Replica[] calldata replicas = receipt.replicas;
        bytes32 job = jobId(order);
        reason = _checkOrder(order, replicas.length);
        // What else is wrong with an order is told before its expiry.
        if (reason != GOOD && reason != Market_OrderExpired.selector) return (reason, 0, 0);
        reason = _checkReplicas(order, replicas);
        if (reason != GOOD) return (reason, 0, 0);
        if (!_signedBy(order.requester, job, receipt.requesterSig)) {
            return (Market_RequesterSignatureInvalid.selector, 0, 0);
        }
        reason = _checkReveals(order, replicas, job);
        if (reason != GOOD) return (reason, 0, 0);
        uint256[] memory votes = new uint256[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            votes[i] = Tally.toVote(replicas[i].tag, replicas[i].secs);
        }
        (winners, secs) = Tally.count(votes, order.quorum, order.maxSeconds);
    }
}
