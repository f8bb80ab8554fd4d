// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Where a job on the on-chain road stands.
enum RoadState {
    /// Never opened here.
    None,
    /// Drawn operators may commit until the deadline; the lowest tickets are kept.
    Committing,
    /// The commit set is fixed; its commitments are opened until the deadline.
    Revealing,
    /// Over: a quorum was paid.
    Settled,
    /// Over without a quorum.
    Failed
}

/// @notice A job on the road, in one slot. Everything else is supplied again by each caller and checked against
/// `context`.
struct RoadJob {
    /// Hash of the round and the entries. Its 200 bits leave a collision as dear as 2^100 hashes.
    bytes25 context;
    /// Unix seconds until which the state's own step can be taken.
    uint40 deadline;
    /// One bit per entry whose commitment was opened in time.
    uint8 revealed;
    RoadState state;
}

/// @notice A drawn operator's promise to have an answer, as brought to the road.
struct Commit {
    /// Whose stake vouches.
    address operator;
    /// Its price per second.
    uint64 rate;
    /// Its place in the draw.
    uint8 ticket;
    /// With `r` and `s` the signature by the operator's signing key over the commit, as it goes to a scheduler: 27 or
    /// 28. All three are zero where that key is the sender.
    uint8 v;
    /// keccak256(job, operator, tag, seconds, salt).
    bytes32 commitment;
    /// In words of their own: 65 bytes of another array cost 700 gas more.
    bytes32 r;
    bytes32 s;
}

/// @notice What the road remembers of a commit. A job's entries are kept by rising ticket.
struct Entry {
    address operator;
    uint8 ticket;
    uint64 rate;
    bytes32 commitment;
}

/// @notice What opens the commitment of one entry.
struct Opening {
    /// Which entry.
    uint8 index;
    uint32 secs;
    bytes32 tag;
    bytes32 salt;
}
