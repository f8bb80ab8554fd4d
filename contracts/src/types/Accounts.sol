// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One party's books, in one slot. Money is in micro-USD.
struct Account {
    /// Withdrawable.
    uint64 free;
    /// Stake: all of it can be slashed.
    uint64 bond;
    /// Part of the stake that modules hold for what is open with them: promised to nobody else.
    uint64 locked;
    /// Replicas that were in a quorum. Stays at its largest value rather than wrap.
    uint32 wins;
    /// Replicas that a quorum contradicted. Stays at its largest value rather than wrap.
    uint32 faults;
}

/// @notice Money that one requester set aside for the orders of one scheduler.
struct Budget {
    uint64 amount;
    /// Unix seconds from which the requester may take it back; zero while open.
    uint48 closesAt;
}
