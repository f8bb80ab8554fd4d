// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Order} from "../types/Orders.sol";
import {Batch} from "./Batches.sol";
import {Desk, Vote} from "./Desk.sol";
import {Parameters} from "./Parameters.sol";
import {Tally} from "./Tally.sol";

/// @notice What a receipt says about itself: whether its votes fit its order, and what they come to.
/// @dev The loops over votes are in assembly: a batch has hundreds of votes, and what the compiler makes of the same
/// loops costs four times as much. `Desk` says what lies where.
library Judge {
    bytes4 internal constant GOOD = bytes4(0);

    /// @notice The struct hash of the order, and its digest, which is the job's id.
    function identify(Desk desk) internal pure returns (bytes32 orderHash, bytes32 job) {
        assembly ("memory-safe") {
            orderHash := keccak256(add(desk, 0xa0), 0x220)
            mstore(add(desk, 0x3a2), orderHash)
            job := keccak256(add(desk, 0x380), 0x42)
        }
    }

    /// @notice GOOD, or why the order cannot be settled by this many replicas now.
    function checkOrder(Order memory order, uint256 replicas) internal view returns (bytes4) {
        unchecked {
            if (replicas != order.replicas || replicas == 0 || replicas > Parameters.MAX_REPLICAS) {
                return IMarket.Market_ReplicaCountInvalid.selector;
            }
            uint256 quorum = order.quorum;
            if (quorum * 2 <= replicas || quorum > replicas) return IMarket.Market_QuorumInvalid.selector;
            uint256 ahead = order.expiry - block.timestamp; // wraps where it is over
            if (ahead <= Parameters.HORIZON) return GOOD;
            return block.timestamp > order.expiry
                ? IMarket.Market_OrderExpired.selector
                : IMarket.Market_ExpiryTooFar.selector;
        }
    }

    /// @notice GOOD, or why the votes do not answer the order. It commits every vote to the job on the way: hashes the
    /// commitments and then all of them, and lays the votes out for the tally.
    function checkVotes(Desk desk, bytes32 job) internal pure returns (bytes4) {
        bool doubtful;
        assembly ("memory-safe") {
            let count := mload(desk)
            mstore(add(desk, 0x2e0), job)
            mstore(add(desk, 0x4e0), count)
            let maxRate := mload(add(desk, 0x160))
            let maxTicket := mload(add(desk, 0x200))
            let least := 0 // the lowest ticket that still rises
            let seen := 0 // the last 8 bits of the places, one bit for each value
            let vote := add(desk, 0x680)
            let commitment := add(desk, 0x3e0)
            for { let end := add(commitment, shl(5, count)) } lt(commitment, end) {} {
                mstore(vote, job)
                mstore(commitment, keccak256(vote, 0xa0))
                // Tally.toVote, 0x120 from the commitment to the tally
                mstore(
                    add(commitment, 0x120),
                    or(shl(32, shr(32, mload(add(vote, 0x40)))), mload(add(vote, 0x60)))
                )
                let ticket := mload(add(vote, 0xc0))
                let bit := shl(and(mload(add(vote, 0xe0)), 0xff), 1)
                doubtful := or(doubtful, and(seen, bit))
                doubtful := or(doubtful, gt(mload(add(vote, 0xa0)), maxRate))
                doubtful := or(doubtful, or(gt(ticket, maxTicket), lt(ticket, least)))
                seen := or(seen, bit)
                least := add(ticket, 1)
                commitment := add(commitment, 0x20)
                vote := add(vote, 0x160)
            }
            mstore(add(desk, 0x300), keccak256(add(desk, 0x3e0), shl(5, count)))
            doubtful := iszero(iszero(doubtful))
        }
        return doubtful ? _whyVotesAreBad(desk) : GOOD;
    }

    /// @notice Tallies the votes and writes what they come to into the batch's records, and what Providers has to
    /// confirm into its claims; false, and nothing written, where that is more money than any budget holds.
    function decide(Desk desk, Batch memory batch) internal pure returns (bool) {
        (uint256 winners, uint256 secs) =
            Tally.count(_tally(desk), desk.order().quorum, desk.order().maxSeconds);
        uint256 excess =
            winners == 0 ? _writeEfforts(desk, batch) : _writeVerdicts(desk, batch, winners, secs);
        if (excess != 0) return false;
        _writeRecord(desk, batch, winners, secs);
        _writeClaims(desk, batch);
        return true;
    }

    /// @dev With tickets strictly rising to `maxTicket` the scheduler may pass over the unwilling, but not shop
    /// around; an operator with many seats still has one vote.
    function _whyVotesAreBad(Desk desk) private pure returns (bytes4) {
        Order memory order = desk.order();
        uint256 last = 0;
        for (uint256 i = 0; i < desk.count(); ++i) {
            Vote memory vote = desk.voteAt(i);
            if (vote.rate > order.maxRate) return IMarket.Market_RateTooHigh.selector;
            if (vote.ticket > order.maxTicket) return IMarket.Market_TicketTooHigh.selector;
            if (i != 0 && vote.ticket <= last) return IMarket.Market_TicketsNotRising.selector;
            last = vote.ticket;
            for (uint256 earlier = 0; earlier < i; ++earlier) {
                if (desk.voteAt(earlier).place == vote.place) return IMarket.Market_OperatorTwice.selector;
            }
        }
        return GOOD;
    }

    function _tally(Desk desk) private pure returns (uint256[] memory votes) {
        assembly ("memory-safe") {
            votes := add(desk, 0x4e0)
        }
    }

    /// @dev With a quorum: rate x paid seconds for the winners, and the bond taken from the others.
    function _writeVerdicts(Desk desk, Batch memory batch, uint256 winners, uint256 secs)
        private
        pure
        returns (uint256 excess)
    {
        uint256 share = batch.records.end;
        assembly ("memory-safe") {
            share := add(share, 0xc0)
            let bond := mload(add(desk, 0x1a0))
            let vote := add(desk, 0x680)
            for { let end := add(share, shl(5, mload(desk))) } lt(share, end) {} {
                let amount := mul(mload(add(vote, 0xa0)), secs)
                let tail := shl(8, mload(add(vote, 0xe0))) // the place, and ShareKind.Won
                if iszero(and(winners, 1)) {
                    amount := bond
                    tail := or(tail, 2) // ShareKind.Slashed
                }
                excess := or(excess, shr(64, amount))
                mstore(share, or(or(mload(add(vote, 0x20)), shl(160, amount)), shl(224, tail)))
                winners := shr(1, winners)
                share := add(share, 0x20)
                vote := add(vote, 0x160)
            }
        }
    }

    /// @dev Without a quorum: a part of rate x own seconds for everybody.
    function _writeEfforts(Desk desk, Batch memory batch) private pure returns (uint256 excess) {
        (uint256 effortBps, uint256 bps) = (Parameters.EFFORT_BPS, Parameters.BPS);
        uint256 share = batch.records.end;
        assembly ("memory-safe") {
            share := add(share, 0xc0)
            let maxSeconds := mload(add(desk, 0x180))
            let vote := add(desk, 0x680)
            for { let end := add(share, shl(5, mload(desk))) } lt(share, end) {} {
                let secs := mload(add(vote, 0x60))
                if gt(secs, maxSeconds) { secs := maxSeconds }
                let amount := div(mul(mul(mload(add(vote, 0xa0)), secs), effortBps), bps)
                let tail := or(shl(8, mload(add(vote, 0xe0))), 1) // the place, and ShareKind.Effort
                excess := or(excess, shr(64, amount))
                mstore(share, or(or(mload(add(vote, 0x20)), shl(160, amount)), shl(224, tail)))
                share := add(share, 0x20)
                vote := add(vote, 0x160)
            }
        }
    }

    /// @dev What a record has around the shares of its replicas; see `Records`.
    function _writeRecord(Desk desk, Batch memory batch, uint256 winners, uint256 secs) private pure {
        uint256 record = batch.records.end;
        uint256 end;
        assembly ("memory-safe") {
            mstore(record, mload(add(desk, 0x2e0))) // job
            mstore(add(record, 0x20), mload(add(desk, 0xc0))) // requester
            mstore(add(record, 0x40), mload(add(desk, 0x2a0))) // nonce
            let shares := add(mload(desk), 1)
            mstore(add(record, 0xa0), shares)
            end := add(add(record, 0xc0), shl(5, shares))
            let fee := mload(add(desk, 0x140))
            switch winners
            case 0 {
                fee := 0
                mstore(add(record, 0x60), 0)
                mstore(add(record, 0x80), 0x20)
            }
            default {
                // The vote of the first winner, with the seconds that are paid.
                let vote := add(desk, 0x500)
                for {} iszero(and(winners, 1)) { winners := shr(1, winners) } { vote := add(vote, 0x20) }
                mstore(add(record, 0x60), or(shl(32, shr(32, mload(vote))), secs))
                mstore(add(record, 0x80), 0x40)
            }
            // The scheduler, and ShareKind.Fee
            mstore(sub(end, 0x20), or(mload(add(desk, 0x120)), or(shl(160, fee), shl(224, 3))))
        }
        // The lists were made for all receipts and their replicas.
        assert(end <= batch.records.limit);
        batch.records.end = end;
    }

    /// @dev The job, and a `SeatClaim` for each replica.
    function _writeClaims(Desk desk, Batch memory batch) private pure {
        uint256 end = batch.claims.end;
        assembly ("memory-safe") {
            mstore(end, mload(add(desk, 0x2e0)))
            let seed := shl(192, mload(add(desk, 0x40)))
            let vote := add(desk, 0x680)
            for { let following := mload(desk) } following {} {
                following := sub(following, 1)
                end := add(end, 0x20)
                let places := or(shl(168, mload(add(vote, 0x140))), or(seed, shl(216, following)))
                mstore(end, or(mload(add(vote, 0x20)), or(shl(160, mload(add(vote, 0xc0))), places)))
                vote := add(vote, 0x160)
            }
            end := add(end, 0x20)
        }
        assert(end <= batch.claims.limit);
        batch.claims.end = end;
    }
}
