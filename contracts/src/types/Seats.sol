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
