// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What a batch did to one operator: paid (64) | slashed (64) | wins (32) | efforts (32) | faults (32).
type Sums is uint256;

/// @notice Why the Vault refused a job.
enum Refusal {
    NonceSpent,
    BudgetTooSmall
}

using {paidOf, slashedOf, winsOf, effortsOf, faultsOf} for Sums global;

uint256 constant SLASHED_SHIFT = 64;
uint256 constant WIN_ONE = 1 << 128;
uint256 constant EFFORT_ONE = 1 << 160;
uint256 constant FAULT_ONE = 1 << 192;

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
