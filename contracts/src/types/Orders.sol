// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A requester's signed demand. Its EIP-712 digest is the job id, so it binds chain, contract and nonce.
/// @dev Money is in micro-USD. The member order is the ABI order of every client: never reorder.
struct Order {
    /// Whose budget pays and whose signature counts.
    address requester;
    /// Digest of the job spec: image, inputs, limits, comparator.
    bytes32 spec;
    /// The hardware class whose seats are drawn.
    bytes32 hardwareClass;
    /// Who may draw on the requester's budget with this order, and earns the fee.
    address scheduler;
    /// Paid to the scheduler when a quorum forms.
    uint64 fee;
    /// Highest rate of a replica, per second.
    uint64 maxRate;
    /// Most seconds that a replica is paid for.
    uint32 maxSeconds;
    /// What each replica's operator risks.
    uint64 bond;
    /// How many operators run the job.
    uint8 replicas;
    /// How many of them must agree; more than half.
    uint8 quorum;
    /// How far down the draw the scheduler may go past operators that decline.
    uint8 maxTicket;
    /// Seconds that providers get to commit.
    uint32 commitWindow;
    /// Seconds that providers get to reveal.
    uint32 revealWindow;
    /// The block whose hash draws the operators; in the future when the order is signed.
    uint64 seedBlock;
    /// Unix seconds after which the order can no longer be settled.
    uint64 expiry;
    /// The chance that a later block draws the settled job for an audit by fresh replicas, in 1/10,000.
    uint16 auditBps;
    /// Whether the requester also pays for a panel of fresh replicas where no quorum forms.
    bool escalate;
    /// Unordered; spent once per requester.
    uint256 nonce;
}

/// @notice One replica's opened vote.
struct Replica {
    /// Whose stake vouches and whose account is paid.
    address operator;
    /// Its price per second.
    uint64 rate;
    /// Its place in the draw.
    uint8 ticket;
    /// Seconds on its meter.
    uint32 secs;
    /// keccak256(job, round, output digest): equal for equal outputs, useless in another job.
    bytes32 tag;
    /// What hid the tag while the commitment stood alone.
    bytes32 salt;
    /// By the operator's signing key, over the job and the whole commit set.
    bytes sig;
}

/// @notice Enough for anybody to have a job settled: the order and all of its opened votes by ticket.
struct Receipt {
    Order order;
    bytes requesterSig;
    Replica[] replicas;
}
