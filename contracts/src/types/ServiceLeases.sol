// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What both sides of a service sign. Its EIP-712 digest is the lease's id, so it binds chain and contract.
/// @dev Money is in micro-USD, times in seconds. The member order is the ABI order of every client: never reorder.
struct Terms {
    /// Who pays, from its free money.
    address requester;
    /// Who serves and is paid.
    address operator;
    /// Digest of the service's description: image, inputs, ports, limits.
    bytes32 spec;
    /// The hardware class that the operator must hold a seat in when the lease starts.
    bytes32 hardwareClass;
    /// Who brought the two together; zero for nobody.
    address scheduler;
    /// Paid to the operator for each second.
    uint48 rate;
    /// Paid to the scheduler for each second: it earns for as long as the match lasts, and for no longer.
    uint48 feeRate;
    /// What the requester puts in at the start; at least the notice's cost.
    uint64 escrow;
    /// Seconds that are still paid after the requester stops.
    uint32 notice;
    /// Unix seconds after which the lease can no longer start.
    uint64 startBy;
    /// Makes terms that are alike different leases.
    uint256 nonce;
}

/// @notice How far a lease has come. It only ever moves on.
enum LeaseStatus {
    /// Nobody has started or cancelled it.
    None,
    /// Started; it may be over already and wait for somebody to settle it.
    Open,
    /// Settled for the last time, or cancelled before it started. For good.
    Ended
}

/// @notice A started lease, in three slots.
struct Lease {
    address requester;
    /// What is not paid out yet.
    uint64 escrow;
    uint24 notice;
    LeaseStatus status;
    address operator;
    /// Unix seconds up to which everything is paid.
    uint48 paidUntil;
    /// Unix seconds at which it ends even if there is money left; the largest value while nobody has stopped it.
    uint48 stopsAt;
    address scheduler;
    uint48 rate;
    uint48 feeRate;
}
