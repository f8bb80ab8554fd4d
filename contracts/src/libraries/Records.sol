// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Raw} from "./Raw.sol";

/// @notice What one settled job does to the books, as words that follow each other.
/// @dev | from | holds |
///      |---|---|
///      | 0x00 | the job |
///      | 0x20 | the requester |
///      | 0x40 | the order's nonce |
///      | 0x60 | the winners' vote: 28 bytes of tag, 4 bytes of seconds; zero without a quorum |
///      | 0x80 | where the shares start in the data of the job's event: 0x40, or 0x20 without a quorum |
///      | 0xa0 | how many shares follow |
///      | 0xc0 | a share for each replica, by ticket, and then the scheduler's fee |
/// Market writes each word once: the Vault reads a record, and its words from 0x60 or 0x80 on are the data of the job's
/// event. A share is of `Share`; this library works on its word because a batch has hundreds.
library Records {
    uint256 internal constant JOB = 0x00;
    uint256 internal constant REQUESTER = 0x20;
    uint256 internal constant NONCE = 0x40;
    uint256 internal constant VOTE = 0x60;
    uint256 internal constant OFFSET = 0x80;
    uint256 internal constant COUNT = 0xa0;
    uint256 internal constant SHARES = 0xc0;
    /// @dev Words before the shares.
    uint256 internal constant HEAD_WORDS = 6;

    uint256 internal constant OFFSET_AFTER_VOTE = 0x40;
    uint256 internal constant OFFSET_WITHOUT_VOTE = 0x20;

    // The values of ShareKind.
    uint256 internal constant WON = 0;
    uint256 internal constant EFFORT = 1;
    uint256 internal constant SLASHED = 2;
    uint256 internal constant FEE = 3;

    uint256 internal constant PLACE_SHIFT = 232;
    uint256 private constant PARTY_MASK = type(uint160).max;
    uint256 private constant AMOUNT_SHIFT = 160;
    uint256 private constant AMOUNT_MASK = type(uint64).max;
    uint256 private constant KIND_SHIFT = 224;
    uint256 private constant KIND_MASK = type(uint8).max;

    /// @notice A share, whose place is yet to be added.
    /// @param amount Of 64 bits.
    function toWord(uint256 party, uint256 amount, uint256 kind) internal pure returns (uint256) {
        return party | amount << AMOUNT_SHIFT | kind << KIND_SHIFT;
    }

    function partyOf(uint256 share) internal pure returns (uint256) {
        return share & PARTY_MASK;
    }

    function amountOf(uint256 share) internal pure returns (uint256) {
        return share >> AMOUNT_SHIFT & AMOUNT_MASK;
    }

    function kindOf(uint256 share) internal pure returns (uint256) {
        return share >> KIND_SHIFT & KIND_MASK;
    }

    function placeOf(uint256 share) internal pure returns (uint256) {
        return share >> PLACE_SHIFT;
    }

    function withAmount(uint256 share, uint256 amount) internal pure returns (uint256) {
        return share & ~(AMOUNT_MASK << AMOUNT_SHIFT) | amount << AMOUNT_SHIFT;
    }

    function withoutPlace(uint256 share) internal pure returns (uint256) {
        return share & (uint256(1) << PLACE_SHIFT) - 1;
    }

    /// @notice Where the next record starts.
    /// @param count The word at COUNT.
    function endOf(uint256 record, uint256 count) internal pure returns (uint256) {
        unchecked {
            return record + SHARES + count * Raw.WORD;
        }
    }

    /// @notice All that leaves the requester's budget: every share that is not slashed.
    /// @param record Where it is in the call data, and `end` where it ends.
    function costOf(uint256 record, uint256 end) internal pure returns (uint256 cost) {
        assembly ("memory-safe") {
            for { let cursor := add(record, SHARES) } lt(cursor, end) { cursor := add(cursor, 0x20) } {
                let share := calldataload(cursor)
                let slashed := eq(and(shr(KIND_SHIFT, share), 0xff), SLASHED)
                cost := add(cost, mul(and(shr(AMOUNT_SHIFT, share), 0xffffffffffffffff), iszero(slashed)))
            }
        }
    }
}
