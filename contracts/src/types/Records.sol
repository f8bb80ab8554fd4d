// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What one settled job does to the books, as words that follow each other.
/// @dev | word | holds |
///      |---|---|
///      | 0 | the requester |
///      | 1 | the order's nonce |
///      | 2 | the winners' vote: 28 bytes of tag, 4 bytes of seconds; zero without a quorum |
///      | 3 | where the shares start in the data of the job's event: 0x40, or 0x20 without a quorum |
///      | 4 | how many shares follow: one for each replica, by ticket, and the scheduler's fee |
///      | 5 | those shares |
/// Market writes a job once: the Vault reads its words, and words 2 or 3 onwards are the data of the job's event.
library Records {
    uint256 internal constant REQUESTER = 0;
    uint256 internal constant NONCE = 1;
    uint256 internal constant VOTE = 2;
    uint256 internal constant OFFSET = 3;
    uint256 internal constant COUNT = 4;
    uint256 internal constant SHARES = 5;

    uint256 internal constant OFFSET_WITH_QUORUM = 0x40;
    uint256 internal constant OFFSET_WITHOUT_QUORUM = 0x20;
}

/// @notice Why the Vault refused a record.
enum Refusal {
    NonceSpent,
    BudgetTooSmall
}

/// @notice What a batch did to one operator: paid (64) | slashed (64) | wins (32) | efforts (32) | faults (32).
type Sums is uint256;

using {paidOf, slashedOf, winsOf, effortsOf, faultsOf} for Sums global;

// Truncation is the extraction in all of these.
// forge-lint: disable-start(unsafe-typecast)

function paidOf(Sums sums) pure returns (uint64) {
    return uint64(Sums.unwrap(sums));
}

function slashedOf(Sums sums) pure returns (uint64) {
    return uint64(Sums.unwrap(sums) >> 64);
}

function winsOf(Sums sums) pure returns (uint32) {
    return uint32(Sums.unwrap(sums) >> 128);
}

function effortsOf(Sums sums) pure returns (uint32) {
    return uint32(Sums.unwrap(sums) >> 160);
}

function faultsOf(Sums sums) pure returns (uint32) {
    return uint32(Sums.unwrap(sums) >> 192);
}

// forge-lint: disable-end(unsafe-typecast)

uint256 constant PAID_ONE = 1;
uint256 constant SLASHED_ONE = 1 << 64;
uint256 constant WIN_ONE = 1 << 128;
uint256 constant EFFORT_ONE = 1 << 160;
uint256 constant FAULT_ONE = 1 << 192;
