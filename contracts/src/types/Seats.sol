// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What Market asks Providers to confirm of one replica.
struct Claim {
    uint256 ticket;
    /// Said to hold the drawn seat.
    address operator;
    /// Who signed the reveal, as recovered from the signature; never zero.
    address signer;
}

/// @notice The answer to a list of claims: `Valid`, or what is wrong with the first that is not.
enum ClaimsResult {
    Valid,
    SeedUnknown,
    SeedTooOld,
    NotDrawn,
    NotSigner
}

/// @notice One replica of a batch, as Market has Providers confirm it: operator (160) | ticket (8) | job (24) |
/// seed (24) | key (24). The last three are places in the batch's lists.
type SeatClaim is uint256;

using {claimedOperator, claimedTicket, claimedJob, claimedSeed, claimedKey} for SeatClaim global;

// Truncation is the extraction in all of these.
// forge-lint: disable-start(unsafe-typecast)

function claimedOperator(SeatClaim claim) pure returns (address) {
    return address(uint160(SeatClaim.unwrap(claim)));
}

function claimedTicket(SeatClaim claim) pure returns (uint256) {
    return uint8(SeatClaim.unwrap(claim) >> 160);
}

function claimedJob(SeatClaim claim) pure returns (uint256) {
    return uint24(SeatClaim.unwrap(claim) >> 168);
}

function claimedSeed(SeatClaim claim) pure returns (uint256) {
    return uint24(SeatClaim.unwrap(claim) >> 192);
}

function claimedKey(SeatClaim claim) pure returns (uint256) {
    return uint24(SeatClaim.unwrap(claim) >> 216);
}

// forge-lint: disable-end(unsafe-typecast)

/// @notice Seed block and class that claims are drawn by.
struct SeedOf {
    bytes32 hardwareClass;
    uint256 seedBlock;
}

/// @notice The first claim of a job that is not good: what is wrong with it (8) | job (24) | key (24).
type FailedClaim is uint256;

using {failure, failedJob, failedKey} for FailedClaim global;

function toFailedClaim(ClaimsResult result, SeatClaim claim) pure returns (FailedClaim) {
    return FailedClaim.wrap(uint256(result) | claim.claimedJob() << 8 | claim.claimedKey() << 32);
}

function failure(FailedClaim failed) pure returns (ClaimsResult) {
    return ClaimsResult(FailedClaim.unwrap(failed) & type(uint8).max);
}

function failedJob(FailedClaim failed) pure returns (uint256) {
    return FailedClaim.unwrap(failed) >> 8 & type(uint24).max;
}

function failedKey(FailedClaim failed) pure returns (uint256) {
    return FailedClaim.unwrap(failed) >> 32;
}
