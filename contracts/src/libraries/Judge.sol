// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Batch} from "./Batches.sol";
import {Desk} from "./Desk.sol";
import {Parameters} from "./Parameters.sol";
import {Raw} from "./Raw.sol";
import {Records} from "./Records.sol";
import {Tally} from "./Tally.sol";

/// @notice What the receipt on the desk says about itself: who it is, whether its votes fit its order, and what they
/// come to. `Desk` says what lies where.
library Judge {
    bytes4 internal constant GOOD = bytes4(0);

    /// @notice The struct hash of the order, and its digest, which is the job's id.
    function identify(uint256 desk) internal pure returns (uint256 orderHash, uint256 job) {
        unchecked {
            orderHash = Raw.hash(desk + Desk.ORDER_ENCODED, Desk.ORDER_ENCODED_BYTES);
            job = Desk.digest(desk, orderHash);
            Raw.store(desk + Desk.JOB, job);
        }
    }

    /// @notice GOOD, or why the order cannot be settled by its votes now. The expiry comes last.
    function checkOrder(uint256 desk) internal view returns (bytes4) {
        unchecked {
            uint256 replicas = Raw.load(desk + Desk.COUNT);
            if (replicas != Raw.load(desk + Desk.REPLICAS) || replicas == 0) {
                return IMarket.Market_ReplicaCountInvalid.selector;
            }
            if (replicas > Parameters.MAX_REPLICAS) return IMarket.Market_ReplicaCountInvalid.selector;
            uint256 quorum = Raw.load(desk + Desk.QUORUM);
            if (quorum * 2 <= replicas || quorum > replicas) return IMarket.Market_QuorumInvalid.selector;
            if (Raw.load(desk + Desk.AUDIT_BPS) > Parameters.BPS) {
                return IMarket.Market_AuditInvalid.selector;
            }
            uint256 expiry = Raw.load(desk + Desk.EXPIRY);
            if (block.timestamp > expiry) return IMarket.Market_OrderExpired.selector;
            if (expiry > block.timestamp + Parameters.HORIZON) return IMarket.Market_ExpiryTooFar.selector;
            return GOOD;
        }
    }

    /// @notice GOOD, or why the votes do not answer the order. On the way it commits every vote to the job, and all of
    /// them to what each reveal signs.
    function checkVotes(uint256 desk) internal pure returns (bytes4) {
        unchecked {
            uint256 job = Raw.load(desk + Desk.JOB);
            uint256 maxRate = Raw.load(desk + Desk.MAX_RATE);
            uint256 maxTicket = Raw.load(desk + Desk.MAX_TICKET);
            uint256 commitment = desk + Desk.COMMITMENTS;
            uint256 least = 0; // the lowest ticket that still rises
            uint256 seen = 0; // one bit for each value that the places' last 8 bits have
            bool doubtful = false;
            uint256 end = Desk.endOfVotes(desk);
            for (uint256 vote = desk + Desk.VOTES; vote != end; vote += Desk.VOTE_BYTES) {
                Raw.store(vote, job);
                Raw.store(commitment, Raw.hash(vote, Desk.COMMITMENT_ENCODED_BYTES));
                commitment += Raw.WORD;
                uint256 ticket = Raw.load(vote + Desk.VOTE_TICKET);
                uint256 bit = uint256(1) << (Raw.load(vote + Desk.VOTE_PLACE) & 0xff);
                if (ticket < least || ticket > maxTicket) doubtful = true;
                if (Raw.load(vote + Desk.VOTE_RATE) > maxRate || seen & bit != 0) doubtful = true;
                seen |= bit;
                least = ticket + 1;
            }
            uint256 commitments = desk + Desk.COMMITMENTS;
            Raw.store(desk + Desk.COMMITS, Raw.hash(commitments, commitment - commitments));
            return doubtful ? _whyVotesAreBad(desk) : GOOD;
        }
    }

    /// @notice The struct hash of the reveal of a vote.
    function hashReveal(uint256 desk, uint256 vote) internal pure returns (uint256) {
        unchecked {
            Raw.store(desk + Desk.REVEAL_TAG, Raw.load(vote + Desk.VOTE_TAG));
            Raw.store(desk + Desk.REVEAL_RATE, Raw.load(vote + Desk.VOTE_RATE));
            Raw.store(desk + Desk.REVEAL_SECS, Raw.load(vote + Desk.VOTE_SECS));
            return Raw.hash(desk + Desk.REVEAL_ENCODED, Desk.REVEAL_ENCODED_BYTES);
        }
    }

    /// @notice The verdict on the votes.
    function tally(uint256 desk) internal pure returns (uint256 winners, uint256 secs) {
        unchecked {
            uint256 next = desk + Desk.TALLY_FIRST;
            uint256 end = Desk.endOfVotes(desk);
            for (uint256 vote = desk + Desk.VOTES; vote != end; vote += Desk.VOTE_BYTES) {
                bytes32 tag = bytes32(Raw.load(vote + Desk.VOTE_TAG));
                Raw.store(next, Tally.toVote(tag, Raw.load(vote + Desk.VOTE_SECS)));
                next += Raw.WORD;
            }
            uint256[] memory votes;
            Raw.store(desk + Desk.TALLY, Raw.load(desk + Desk.COUNT));
            assembly ("memory-safe") {
                votes := add(desk, 0x520) // Desk.TALLY
            }
            return Tally.count(votes, Raw.load(desk + Desk.QUORUM), Raw.load(desk + Desk.MAX_SECONDS));
        }
    }

    /// @notice Tallies the votes and writes what they come to into the batch's records; false, and nothing written,
    /// where that is more money than any budget holds.
    function decide(uint256 desk, Batch memory batch) internal pure returns (bool) {
        unchecked {
            (uint256 winners, uint256 secs) = tally(desk);
            uint256 record = batch.records.next();
            uint256 shares = record + Records.SHARES;
            (uint256 end, uint256 excess) =
                winners == 0 ? _writeEfforts(desk, shares) : _writeVerdicts(desk, shares, winners, secs);
            if (excess >> 64 != 0) return false;
            _writeHead(desk, record);
            if (winners == 0) {
                _writeVote(record, 0, Records.OFFSET_WITHOUT_VOTE);
                _writeFee(desk, end, 0);
            } else {
                _writeVote(record, Tally.toVote(_tagOf(desk, winners), secs), Records.OFFSET_AFTER_VOTE);
                _writeFee(desk, end, Raw.load(desk + Desk.FEE));
            }
            batch.records.extend(end + Raw.WORD);
            return true;
        }
    }

    /// @notice Writes what Providers has to confirm into the batch's claims: the job, and a `SeatClaim` for each replica.
    function claim(uint256 desk, Batch memory batch) internal pure {
        unchecked {
            uint256 next = batch.claims.next();
            Raw.store(next, Raw.load(desk + Desk.JOB));
            uint256 tail = Raw.load(desk + Desk.SEED) << 192 | Raw.load(desk + Desk.COUNT) << 216;
            uint256 end = Desk.endOfVotes(desk);
            for (uint256 vote = desk + Desk.VOTES; vote != end; vote += Desk.VOTE_BYTES) {
                next += Raw.WORD;
                tail -= 1 << 216;
                uint256 seat = Raw.load(vote + Desk.VOTE_OPERATOR) | Raw.load(vote + Desk.VOTE_TICKET) << 160;
                Raw.store(next, seat | Raw.load(vote + Desk.VOTE_KEY) << 168 | tail);
            }
            batch.claims.extend(next + Raw.WORD);
        }
    }

    /// @dev With tickets strictly rising to `maxTicket` the scheduler may pass over the unwilling, but not shop
    /// around; an operator with many seats still has one vote.
    function _whyVotesAreBad(uint256 desk) private pure returns (bytes4) {
        uint256 first = desk + Desk.VOTES;
        uint256 end = Desk.endOfVotes(desk);
        uint256 least = 0;
        for (uint256 vote = first; vote < end; vote += Desk.VOTE_BYTES) {
            uint256 ticket = Raw.load(vote + Desk.VOTE_TICKET);
            if (Raw.load(vote + Desk.VOTE_RATE) > Raw.load(desk + Desk.MAX_RATE)) {
                return IMarket.Market_RateTooHigh.selector;
            }
            if (ticket > Raw.load(desk + Desk.MAX_TICKET)) return IMarket.Market_TicketTooHigh.selector;
            if (ticket < least) return IMarket.Market_TicketsNotRising.selector;
            least = ticket + 1;
            for (uint256 earlier = first; earlier < vote; earlier += Desk.VOTE_BYTES) {
                if (Raw.load(earlier + Desk.VOTE_PLACE) == Raw.load(vote + Desk.VOTE_PLACE)) {
                    return IMarket.Market_OperatorTwice.selector;
                }
            }
        }
        return GOOD;
    }

    function _writeHead(uint256 desk, uint256 record) private pure {
        unchecked {
            Raw.store(record + Records.JOB, Raw.load(desk + Desk.JOB));
            Raw.store(record + Records.REQUESTER, Raw.load(desk + Desk.REQUESTER));
            Raw.store(record + Records.NONCE, Raw.load(desk + Desk.NONCE));
            Raw.store(record + Records.COUNT, Raw.load(desk + Desk.COUNT) + 1);
        }
    }

    function _writeVote(uint256 record, uint256 vote, uint256 offset) private pure {
        unchecked {
            Raw.store(record + Records.VOTE, vote);
            Raw.store(record + Records.OFFSET, offset);
        }
    }

    function _writeFee(uint256 desk, uint256 cursor, uint256 fee) private pure {
        unchecked {
            Raw.store(cursor, Records.toWord(Raw.load(desk + Desk.SCHEDULER), fee, Records.FEE));
        }
    }

    function _tagOf(uint256 desk, uint256 winners) private pure returns (bytes32) {
        unchecked {
            uint256 vote = desk + Desk.VOTES;
            for (; winners & 1 == 0; winners >>= 1) {
                vote += Desk.VOTE_BYTES;
            }
            return bytes32(Raw.load(vote + Desk.VOTE_TAG));
        }
    }

    /// @dev With a quorum: rate x paid seconds for the winners, and the bond taken from the others.
    /// @return next Where the next share goes.
    /// @return excess All amounts, or-ed together.
    function _writeVerdicts(uint256 desk, uint256 shares, uint256 winners, uint256 secs)
        private
        pure
        returns (uint256 next, uint256 excess)
    {
        unchecked {
            next = shares;
            uint256 end = Desk.endOfVotes(desk);
            for (uint256 vote = desk + Desk.VOTES; vote != end; vote += Desk.VOTE_BYTES) {
                (uint256 amount, uint256 kind) = winners & 1 == 1
                    ? (Raw.load(vote + Desk.VOTE_RATE) * secs, Records.WON)
                    : (Raw.load(desk + Desk.BOND), Records.SLASHED);
                winners >>= 1;
                excess |= amount;
                _writeShare(next, vote, amount, kind);
                next += Raw.WORD;
            }
        }
    }

    /// @dev Without a quorum: a part of rate x own seconds for everybody.
    function _writeEfforts(uint256 desk, uint256 shares) private pure returns (uint256 next, uint256 excess) {
        unchecked {
            next = shares;
            uint256 maxSeconds = Raw.load(desk + Desk.MAX_SECONDS);
            uint256 end = Desk.endOfVotes(desk);
            for (uint256 vote = desk + Desk.VOTES; vote != end; vote += Desk.VOTE_BYTES) {
                uint256 secs = Raw.load(vote + Desk.VOTE_SECS);
                if (secs > maxSeconds) secs = maxSeconds;
                uint256 amount =
                    Raw.load(vote + Desk.VOTE_RATE) * secs * Parameters.EFFORT_BPS / Parameters.BPS;
                excess |= amount;
                _writeShare(next, vote, amount, Records.EFFORT);
                next += Raw.WORD;
            }
        }
    }

    function _writeShare(uint256 cursor, uint256 vote, uint256 amount, uint256 kind) private pure {
        unchecked {
            uint256 place = Raw.load(vote + Desk.VOTE_PLACE);
            uint256 operator = Raw.load(vote + Desk.VOTE_OPERATOR);
            Raw.store(cursor, Records.toWord(operator, amount, kind) | place << Records.PLACE_SHIFT);
        }
    }
}
