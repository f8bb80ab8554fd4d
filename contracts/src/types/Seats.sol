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

/// @notice One replica of a batch, as Market has Providers confirm it: operator (160) | ticket (8) | seed (24) | how many
/// claims its job has (8) | 32 bits without meaning | key (24). Key and seed are places in the batch's lists.
type SeatClaim is uint256;

using {claimedOperator, claimedTicket, claimedKey, claimedSeed, claimsOfJob} for SeatClaim global;

// Truncation is the extraction in all of these.
// forge-lint: disable-start(unsafe-typecast)

function claimedOperator(SeatClaim claim) pure returns (address) {
    return address(uint160(SeatClaim.unwrap(claim)));
}

function claimedTicket(SeatClaim claim) pure returns (uint256) {
    return SeatClaim.unwrap(claim) >> 160 & type(uint8).max;
}

function claimedKey(SeatClaim claim) pure returns (uint256) {
    return SeatClaim.unwrap(claim) >> 232;
}

function claimedSeed(SeatClaim claim) pure returns (uint256) {
    return SeatClaim.unwrap(claim) >> 168 & type(uint24).max;
}

function claimsOfJob(SeatClaim claim) pure returns (uint256) {
    return SeatClaim.unwrap(claim) >> 192 & type(uint8).max;
}

// forge-lint: disable-end(unsafe-typecast)

/// @notice The first claim of a job that is not good: what is wrong with it (8) | the job's number in the batch (24) |
/// the key's place (24).
type FailedClaim is uint256;

using {failure, failedJob, failedKey} for FailedClaim global;

function toFailedClaim(ClaimsResult result, uint256 job, uint256 key) pure returns (FailedClaim) {
    return FailedClaim.wrap(uint256(result) | job << 8 | key << 32);
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
