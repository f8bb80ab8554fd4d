// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Batch, Batches} from "./Batches.sol";
// Assembly uses them, which solhint does not see.
// solhint-disable no-unused-import
import {
    COMMITMENT_ENCODED_BYTES,
    DESK_AUDIT_BPS,
    DESK_BOND,
    DESK_COMMITMENTS,
    DESK_COMMITS,
    DESK_COUNT,
    DESK_ESCALATE,
    DESK_EXPIRY,
    DESK_FEE,
    DESK_JOB,
    DESK_MAX_RATE,
    DESK_MAX_SECONDS,
    DESK_MAX_TICKET,
    DESK_NONCE,
    DESK_ORDER_ENCODED,
    DESK_ORDER_ENCODED_BYTES,
    DESK_QUORUM,
    DESK_REPLICAS,
    DESK_REQUESTER,
    DESK_REVEAL_ENCODED,
    DESK_REVEAL_ENCODED_BYTES,
    DESK_REVEAL_RATE,
    DESK_REVEAL_SECS,
    DESK_REVEAL_TAG,
    DESK_SCHEDULER,
    DESK_SEED,
    DESK_TALLY,
    DESK_TALLY_FIRST,
    DESK_VOTES,
    Desk,
    VOTE_BYTES,
    VOTE_KEY,
    VOTE_OPERATOR,
    VOTE_PLACE,
    VOTE_RATE,
    VOTE_SECS,
    VOTE_TAG,
    VOTE_TICKET
} from "./Desk.sol";
// solhint-enable no-unused-import
import {Parameters} from "./Parameters.sol";
import {Raw} from "./Raw.sol";
import {Records} from "./Records.sol";
import {Tally} from "./Tally.sol";

/// @notice What the receipt on the desk says about itself: who it is, whether its votes fit its order, and what they
/// come to. `Desk` says what lies where.
/// @dev Loops that every vote comes by are in assembly: a batch has hundreds of votes, and what the compiler makes of
/// the same loops costs three to four times as much (measured: a third of all gas of a batch signed once).
library Judge {
    using Batches for Batch;

    bytes4 internal constant GOOD = bytes4(0);

    /// @notice The struct hash of the order, and its digest, which is the job's id.
    function identify() internal pure returns (uint256 orderHash, uint256 job) {
        unchecked {
            orderHash = Raw.hash(DESK_ORDER_ENCODED, DESK_ORDER_ENCODED_BYTES);
            job = Desk.digest(orderHash);
            Raw.store(DESK_JOB, job);
        }
    }

    /// @notice GOOD, or why the order cannot be settled by its votes now. The expiry comes last.
    function checkOrder() internal view returns (bytes4) {
        unchecked {
            uint256 replicas = Raw.load(DESK_COUNT);
            if (replicas != Raw.load(DESK_REPLICAS) || replicas == 0) {
                return IMarket.Market_ReplicaCountInvalid.selector;
            }
            if (replicas > Parameters.MAX_REPLICAS) return IMarket.Market_ReplicaCountInvalid.selector;
            uint256 quorum = Raw.load(DESK_QUORUM);
            if (quorum * 2 <= replicas || quorum > replicas) return IMarket.Market_QuorumInvalid.selector;
            if (Raw.load(DESK_AUDIT_BPS) > Parameters.BPS) {
                return IMarket.Market_AuditInvalid.selector;
            }
            uint256 expiry = Raw.load(DESK_EXPIRY);
            if (block.timestamp > expiry) return IMarket.Market_OrderExpired.selector;
            if (expiry > block.timestamp + Parameters.HORIZON) return IMarket.Market_ExpiryTooFar.selector;
            return GOOD;
        }
    }

    /// @notice GOOD, or why the votes do not answer the order. On the way it commits every vote to the job, and all of
    /// them to what each reveal signs, and lays them out for the tally.
    function checkVotes() internal pure returns (bytes4) {
        bool doubtful;
        assembly ("memory-safe") {
            let count := mload(DESK_COUNT)
            mstore(DESK_TALLY, count)
            let job := mload(DESK_JOB)
            let maxRate := mload(DESK_MAX_RATE)
            let maxTicket := mload(DESK_MAX_TICKET)
            let least := 0 // the lowest ticket that still rises
            let seen := 0 // one bit for each value that the places' last 8 bits have
            let vote := DESK_VOTES
            let commitment := DESK_COMMITMENTS
            for { let end := add(commitment, shl(5, count)) } lt(commitment, end) {} {
                mstore(vote, job)
                mstore(commitment, keccak256(vote, COMMITMENT_ENCODED_BYTES))
                mstore( // Tally.toVote
                    add(commitment, sub(DESK_TALLY_FIRST, DESK_COMMITMENTS)),
                    or(shl(32, shr(32, mload(add(vote, VOTE_TAG)))), mload(add(vote, VOTE_SECS)))
                )
                let ticket := mload(add(vote, VOTE_TICKET))
                let bit := shl(and(mload(add(vote, VOTE_PLACE)), 0xff), 1)
                doubtful := or(doubtful, or(and(seen, bit), gt(mload(add(vote, VOTE_RATE)), maxRate)))
                doubtful := or(doubtful, or(gt(ticket, maxTicket), lt(ticket, least)))
                seen := or(seen, bit)
                least := add(ticket, 1)
                commitment := add(commitment, 0x20)
                vote := add(vote, VOTE_BYTES)
            }
            mstore(DESK_COMMITS, keccak256(DESK_COMMITMENTS, shl(5, count)))
            doubtful := iszero(iszero(doubtful))
        }
        return doubtful ? _whyVotesAreBad() : GOOD;
    }

    /// @notice The struct hash of the reveal of a vote.
    function hashReveal(uint256 vote) internal pure returns (uint256 hash) {
        assembly ("memory-safe") {
            mstore(DESK_REVEAL_TAG, mload(add(vote, VOTE_TAG)))
            mstore(DESK_REVEAL_RATE, mload(add(vote, VOTE_RATE)))
            mstore(DESK_REVEAL_SECS, mload(add(vote, VOTE_SECS)))
            hash := keccak256(DESK_REVEAL_ENCODED, DESK_REVEAL_ENCODED_BYTES)
        }
    }

    /// @notice The verdict on the votes that `checkVotes` laid out.
    function tally() internal pure returns (uint256 winners, uint256 secs) {
        uint256[] memory votes;
        assembly ("memory-safe") {
            votes := DESK_TALLY
        }
        return Tally.count(votes, Raw.load(DESK_QUORUM), Raw.load(DESK_MAX_SECONDS));
    }

    /// @notice Tallies the votes and writes what they come to into the batch's records; false, and nothing written,
    /// where that is more money than any budget holds.
    function decide(Batch memory batch) internal pure returns (bool) {
        (uint256 winners, uint256 secs) = tally();
        uint256 record = batch.records.next();
        uint256 excess = winners == 0 ? _writeEfforts(record) : _writeVerdicts(record, winners, secs);
        if (excess != 0) return false;
        if (_concernsCourt(winners)) {
            uint256 commits = Raw.load(DESK_COMMITS);
            batch.refer(commits, Raw.load(DESK_BOND), Raw.load(DESK_AUDIT_BPS));
        }
        batch.records.extend(_writeHead(record, winners, secs));
        return true;
    }

    /// @notice Writes what Providers has to confirm into the batch's claims: the job, and a `SeatClaim` for each
    /// replica.
    function claim(Batch memory batch) internal pure {
        uint256 next = batch.claims.next();
        assembly ("memory-safe") {
            mstore(next, mload(DESK_JOB))
            let count := mload(DESK_COUNT)
            let common := or(shl(168, mload(DESK_SEED)), shl(192, count))
            let vote := DESK_VOTES
            for { let end := add(next, shl(5, count)) } lt(next, end) {} {
                next := add(next, 0x20)
                let key := shl(232, mload(add(vote, VOTE_KEY)))
                let ticket := shl(160, mload(add(vote, VOTE_TICKET)))
                mstore(next, or(mload(add(vote, VOTE_OPERATOR)), or(or(ticket, key), common)))
                vote := add(vote, VOTE_BYTES)
            }
            next := add(next, 0x20)
        }
        batch.claims.extend(next);
    }

    /// @dev With tickets strictly rising to `maxTicket` the scheduler may pass over the unwilling, but not shop
    /// around; an operator with many seats still has one vote.
    function _whyVotesAreBad() private pure returns (bytes4) {
        uint256 first = DESK_VOTES;
        uint256 end = Desk.endOfVotes();
        uint256 least = 0;
        for (uint256 vote = first; vote < end; vote += VOTE_BYTES) {
            uint256 ticket = Raw.load(vote + VOTE_TICKET);
            if (Raw.load(vote + VOTE_RATE) > Raw.load(DESK_MAX_RATE)) {
                return IMarket.Market_RateTooHigh.selector;
            }
            if (ticket > Raw.load(DESK_MAX_TICKET)) return IMarket.Market_TicketTooHigh.selector;
            if (ticket < least) return IMarket.Market_TicketsNotRising.selector;
            least = ticket + 1;
            for (uint256 earlier = first; earlier < vote; earlier += VOTE_BYTES) {
                if (Raw.load(earlier + VOTE_PLACE) == Raw.load(vote + VOTE_PLACE)) {
                    return IMarket.Market_OperatorTwice.selector;
                }
            }
        }
        return GOOD;
    }

    /// @dev What a record has around the shares of its replicas; see `Records`.
    /// @return end Where the record ends.
    /// @dev Whether somebody may still be proved right or wrong.
    function _concernsCourt(uint256 winners) private pure returns (bool) {
        unchecked {
            if (winners == 0) return Raw.load(DESK_ESCALATE) != 0;
            bool all = winners + 1 == uint256(1) << Raw.load(DESK_COUNT);
            return !all || Raw.load(DESK_AUDIT_BPS) != 0;
        }
    }

    function _writeHead(uint256 record, uint256 winners, uint256 secs) private pure returns (uint256 end) {
        assembly ("memory-safe") {
            mstore(record, mload(DESK_JOB))
            mstore(add(record, 0x20), mload(DESK_REQUESTER))
            mstore(add(record, 0x40), mload(DESK_NONCE))
            let shares := add(mload(DESK_COUNT), 1)
            mstore(add(record, 0xa0), shares)
            end := add(add(record, 0xc0), shl(5, shares))
            let fee := 0
            let vote := 0
            let offset := 0x20
            if winners {
                fee := mload(DESK_FEE)
                offset := 0x40
                // The vote of the first winner, with the seconds that are paid.
                let first := DESK_TALLY_FIRST
                for {} iszero(and(winners, 1)) { winners := shr(1, winners) } { first := add(first, 0x20) }
                vote := or(shl(32, shr(32, mload(first))), secs)
            }
            mstore(add(record, 0x60), vote)
            mstore(add(record, 0x80), offset)
            // The scheduler, and ShareKind.Fee
            mstore(sub(end, 0x20), or(mload(DESK_SCHEDULER), or(shl(160, fee), shl(224, 3))))
        }
    }

    /// @dev With a quorum: rate x paid seconds for the winners, and the bond taken from the others.
    /// @return excess Not zero if an amount does not fit 64 bits.
    function _writeVerdicts(uint256 record, uint256 winners, uint256 secs)
        private
        pure
        returns (uint256 excess)
    {
        assembly ("memory-safe") {
            let share := add(record, 0xc0)
            let vote := DESK_VOTES
            for { let end := add(share, shl(5, mload(DESK_COUNT))) } lt(share, end) {} {
                let amount := mul(mload(add(vote, VOTE_RATE)), secs)
                let tail := shl(8, mload(add(vote, VOTE_PLACE))) // and ShareKind.Won
                if iszero(and(winners, 1)) {
                    amount := mload(DESK_BOND)
                    tail := or(tail, 2) // ShareKind.Slashed
                }
                excess := or(excess, shr(64, amount))
                mstore(share, or(or(mload(add(vote, VOTE_OPERATOR)), shl(160, amount)), shl(224, tail)))
                winners := shr(1, winners)
                share := add(share, 0x20)
                vote := add(vote, VOTE_BYTES)
            }
        }
    }

    /// @dev Without a quorum: a part of rate x own seconds for everybody.
    /// @return excess Not zero if an amount does not fit 64 bits.
    function _writeEfforts(uint256 record) private pure returns (uint256 excess) {
        unchecked {
            uint256 share = record + Records.SHARES;
            uint256 maxSeconds = Raw.load(DESK_MAX_SECONDS);
            uint256 end = Desk.endOfVotes();
            for (uint256 vote = DESK_VOTES; vote != end; vote += VOTE_BYTES) {
                uint256 secs = Raw.load(vote + VOTE_SECS);
                if (secs > maxSeconds) secs = maxSeconds;
                uint256 amount = Raw.load(vote + VOTE_RATE) * secs * Parameters.EFFORT_BPS / Parameters.BPS;
                excess |= amount >> 64;
                uint256 place = Raw.load(vote + VOTE_PLACE) << Records.PLACE_SHIFT;
                Raw.store(
                    share, Records.toWord(Raw.load(vote + VOTE_OPERATOR), amount, Records.EFFORT) | place
                );
                share += Raw.WORD;
            }
        }
    }
}
