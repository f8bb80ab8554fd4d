// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order} from "./Orders.sol";
import {Share} from "./Share.sol";

/// @notice Where a job that concerns the court stands.
enum CaseState {
    /// Never here, or over.
    None,
    /// A quorum formed; it may be appealed or audited.
    Entered,
    /// No quorum formed; it may be escalated.
    Split,
    /// A panel was called.
    Called
}

/// @notice Why a panel was called, and with whose money.
enum PanelKind {
    /// Somebody says that a slashed operator was right, and pays unless it is.
    Appeal,
    /// A later block drew the job; its scheduler's fund pays.
    Audit,
    /// No quorum formed; the requester's budget pays.
    Escalation
}

/// @notice A job at the court, in one slot. Everything else is supplied again by each caller and checked against
/// `context`.
struct Case {
    /// Hash of what was decided and, once a panel is called, of the panel. Its 200 bits leave a collision as dear as
    /// 2^100 hashes.
    bytes25 context;
    /// Unix seconds at which the job entered this state.
    uint40 since;
    CaseState state;
}

/// @notice What Market or Road tells of a job that it has just decided.
struct Referral {
    bytes32 job;
    /// keccak256 of the commitments of all replicas, by rising ticket.
    bytes32 commits;
    address requester;
    address scheduler;
    uint64 fee;
    uint64 bond;
    uint16 auditBps;
}

/// @notice A decided job, as its caller says that it was entered.
struct Matter {
    Order order;
    /// Of all replicas, by rising ticket.
    bytes32[] commitments;
    /// What each of them was paid or lost, as `JobEntered` tells.
    Share[] shares;
    /// The block in which it was entered.
    uint64 enteredIn;
}

/// @notice A panel that was called for a job, as `PanelCalled` tells.
struct Panel {
    PanelKind kind;
    /// Who pays for an appeal that fails; zero for the others.
    address payer;
    /// The block whose hash draws it.
    uint64 seedBlock;
    /// Unix seconds until which its first commit must come.
    uint64 expiry;
}

/// @notice How a panel ended on the road, in one slot.
struct Verdict {
    /// The first bytes of the quorum's tag: enough that no second output has the same.
    bytes18 tag;
    /// What the panel was paid.
    uint64 cost;
    /// Unix seconds.
    uint40 endedAt;
    /// Whether a quorum formed.
    bool agreed;
}

/// @notice What pays for the audits of one scheduler's jobs, in one slot: what came in before the last full epoch, in
/// it, and since. Only the first may leave.
struct Fund {
    uint64 settled;
    uint64 previous;
    uint64 current;
    uint40 epoch;
}

/// @notice Stake that an operator has locked for jobs that may still be drawn for an audit, in one slot: locked in the
/// last full epoch, and since.
struct Pledges {
    uint64 previous;
    uint64 current;
    uint40 epoch;
}
