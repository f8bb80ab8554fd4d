// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Who runs a job, as its scheduler says with its signature; a provider starts only on one that names it.
/// @dev A job has one row of assignments, numbered from zero, through all its rounds. Each names everybody whom an
/// earlier one named: who was replaced is said openly. That makes two of them contradict each other if, and only if,
/// the scheduler kept somebody's work from somebody else.
struct Assign {
    /// The order's digest.
    bytes32 job;
    uint32 round;
    /// Its place in the job's row of assignments.
    uint32 sequence;
    /// Who holds a replica now, by rising ticket, and at which ticket.
    address[] operators;
    uint8[] tickets;
    /// Who held one before.
    address[] replaced;
}

/// @notice What a scheduler has put at stake, in one slot.
struct SchedulerBond {
    uint64 amount;
    /// Unix seconds from which it may be taken back; zero while no notice was given.
    uint48 leavesAt;
    /// It contradicted itself once. What it signed would take every later bond too, so it can have none.
    bool caught;
}
