// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Opened, Vote} from "../types/Opened.sol";
import {Order} from "../types/Orders.sol";
import {Share, ShareKind, toShare} from "../types/Share.sol";
import {Batch} from "./Batches.sol";
import {Parameters} from "./Parameters.sol";
import {Records} from "./Records.sol";
import {Tally} from "./Tally.sol";

/// @notice What a receipt says about itself: whether its votes fit its order, and what they come to.
/// @dev The loops over votes are in assembly: a batch has hundreds of votes, and what the compiler makes of the same
/// loops costs four times as much. Members of Vote are read at the places that its definition names.
library Judge {
    bytes4 internal constant GOOD = bytes4(0);

    /// @notice GOOD, or why the order cannot be settled by this many replicas now.
    function checkOrder(Order memory order, uint256 replicas) internal view returns (bytes4) {
        unchecked {
            if (replicas != order.replicas || replicas == 0 || replicas > Parameters.MAX_REPLICAS) {
                return IMarket.Market_ReplicaCountInvalid.selector;
            }
            uint256 quorum = order.quorum;
            if (quorum * 2 <= replicas || quorum > replicas) return IMarket.Market_QuorumInvalid.selector;
            uint256 expiry = order.expiry;
            if (block.timestamp > expiry) return IMarket.Market_OrderExpired.selector;
            if (expiry > block.timestamp + Parameters.HORIZON) return IMarket.Market_ExpiryTooFar.selector;
            return GOOD;
        }
    }

    /// @notice GOOD, or why these votes do not answer the order.
    /// @dev With tickets strictly rising to `maxTicket` the scheduler may pass over the unwilling, but not shop
    /// around; an operator with many seats still has one vote.
    function checkVotes(Opened memory opened) internal pure returns (bytes4 reason) {
        (uint256 maxRate, uint256 maxTicket) = (opened.order.maxRate, opened.order.maxTicket);
        bytes4 rateTooHigh = IMarket.Market_RateTooHigh.selector;
        bytes4 ticketTooHigh = IMarket.Market_TicketTooHigh.selector;
        bytes4 ticketsNotRising = IMarket.Market_TicketsNotRising.selector;
        bytes4 operatorTwice = IMarket.Market_OperatorTwice.selector;
        assembly ("memory-safe") {
            let first := add(mload(add(opened, 0xc0)), 0x20)
            let end := add(first, shl(5, mload(add(opened, 0xa0))))
            let least := 0 // the lowest ticket that still rises
            for { let at_ := first } lt(at_, end) { at_ := add(at_, 0x20) } {
                let vote := mload(at_)
                let ticket := mload(add(vote, 0xc0))
                let place := mload(add(vote, 0xe0))
                for { let earlier := first } lt(earlier, at_) { earlier := add(earlier, 0x20) } {
                    if eq(mload(add(mload(earlier), 0xe0)), place) { reason := operatorTwice }
                }
                if lt(ticket, least) { reason := ticketsNotRising }
                if gt(ticket, maxTicket) { reason := ticketTooHigh }
                if gt(mload(add(vote, 0xa0)), maxRate) { reason := rateTooHigh }
                if reason { break }
                least := add(ticket, 1)
            }
        }
    }

    /// @notice Tallies the votes and writes what they come to into the batch's records; false, and nothing written,
    /// where that is more than any budget holds.
    function decide(Opened memory opened, Batch memory batch, bytes32 job) internal pure returns (bool) {
        (uint256 winners, uint256 secs) = _tally(opened, batch.tally);
        uint256 end = batch.records.end;
        _writeHead(opened, end, job, winners, secs);
        uint256 replicas = opened.count;
        end += Records.HEAD_WORDS * Records.WORD;
        uint256 excess =
            winners == 0 ? _writeEfforts(opened, end) : _writeVerdicts(opened, end, winners, secs);
        if (excess != 0) return false;
        end += replicas * Records.WORD;
        _writeFee(opened.order, end, winners);
        end += Records.WORD;
        // The list was made for all receipts and their replicas.
        assert(end <= batch.records.limit);
        batch.records.end = end;
        return true;
    }

    /// @notice Writes what Providers has to confirm of a job.
    function claim(Opened memory opened, Batch memory batch, bytes32 job) internal pure {
        uint256 end = batch.claims.end;
        assembly ("memory-safe") {
            mstore(end, job)
            let following := mload(add(opened, 0xa0))
            let seed := shl(192, mload(add(opened, 0x80)))
            let votes := add(mload(add(opened, 0xc0)), 0x20)
            for {} following { votes := add(votes, 0x20) } {
                following := sub(following, 1)
                end := add(end, 0x20)
                let vote := mload(votes)
                let places := or(shl(168, mload(add(vote, 0x140))), or(seed, shl(216, following)))
                mstore(end, or(mload(add(vote, 0x20)), or(shl(160, mload(add(vote, 0xc0))), places)))
            }
            end := add(end, 0x20)
        }
        assert(end <= batch.claims.limit);
        batch.claims.end = end;
    }

    function _tally(Opened memory opened, uint256[] memory votes)
        private
        pure
        returns (uint256 winners, uint256 secs)
    {
        assembly ("memory-safe") {
            let count := mload(add(opened, 0xa0))
            mstore(votes, count) // at most as many as there is room for
            let from := add(mload(add(opened, 0xc0)), 0x20)
            let to := add(votes, 0x20)
            for { let end := add(to, shl(5, count)) } lt(to, end) { to := add(to, 0x20) } {
                let vote := mload(from)
                // Tally.toVote
                mstore(to, or(shl(32, shr(32, mload(add(vote, 0x40)))), mload(add(vote, 0x60))))
                from := add(from, 0x20)
            }
        }
        return Tally.count(votes, opened.order.quorum, opened.order.maxSeconds);
    }

    /// @dev Records says what stands where.
    function _writeHead(Opened memory opened, uint256 end, bytes32 job, uint256 winners, uint256 secs)
        private
        pure
    {
        Order memory order = opened.order;
        (address requester, uint256 nonce) = (order.requester, order.nonce);
        assembly ("memory-safe") {
            mstore(end, job)
            mstore(add(end, 0x20), requester)
            mstore(add(end, 0x40), nonce)
            mstore(add(end, 0x60), 0)
            mstore(add(end, 0x80), 0x20)
            if winners {
                let votes := add(mload(add(opened, 0xc0)), 0x20)
                for { let bits := winners } iszero(and(bits, 1)) { bits := shr(1, bits) } {
                    votes := add(votes, 0x20)
                }
                mstore(add(end, 0x60), or(shl(32, shr(32, mload(add(mload(votes), 0x40)))), secs))
                mstore(add(end, 0x80), 0x40)
            }
            mstore(add(end, 0xa0), add(mload(add(opened, 0xa0)), 1))
        }
    }

    /// @dev With a quorum: rate x paid seconds for the winners, and the bond taken from the others.
    function _writeVerdicts(Opened memory opened, uint256 end, uint256 winners, uint256 secs)
        private
        pure
        returns (uint256 excess)
    {
        uint256 bond = opened.order.bond;
        assembly ("memory-safe") {
            let votes := add(mload(add(opened, 0xc0)), 0x20)
            for { let last := add(votes, shl(5, mload(add(opened, 0xa0)))) } lt(votes, last) {} {
                let vote := mload(votes)
                let amount := mul(mload(add(vote, 0xa0)), secs)
                let kind := 0 // ShareKind.Won
                if iszero(and(winners, 1)) {
                    amount := bond
                    kind := 2 // ShareKind.Slashed
                }
                excess := or(excess, shr(64, amount))
                let tail := shl(224, or(kind, shl(8, mload(add(vote, 0xe0)))))
                mstore(end, or(or(mload(add(vote, 0x20)), shl(160, amount)), tail))
                end := add(end, 0x20)
                winners := shr(1, winners)
                votes := add(votes, 0x20)
            }
        }
    }

    /// @dev Without a quorum: a part of rate x own seconds for everybody.
    function _writeEfforts(Opened memory opened, uint256 end) private pure returns (uint256 excess) {
        uint256 maxSeconds = opened.order.maxSeconds;
        for (uint256 i = 0; i < opened.count; ++i) {
            Vote memory vote = opened.votes[i];
            uint256 secs = vote.secs < maxSeconds ? vote.secs : maxSeconds;
            uint256 amount = vote.rate * secs * Parameters.EFFORT_BPS / Parameters.BPS;
            excess |= amount >> 64;
            // What does not fit is not used.
            // forge-lint: disable-next-line(unsafe-typecast)
            Share share = toShare(vote.operator, uint64(amount), ShareKind.Effort).withPlace(vote.place);
            assembly ("memory-safe") {
                mstore(add(end, shl(5, i)), share)
            }
        }
    }

    function _writeFee(Order memory order, uint256 end, uint256 winners) private pure {
        (address scheduler, uint256 fee) = (order.scheduler, winners == 0 ? 0 : order.fee);
        assembly ("memory-safe") {
            mstore(end, or(scheduler, or(shl(160, fee), shl(224, 3)))) // ShareKind.Fee
        }
    }
}
