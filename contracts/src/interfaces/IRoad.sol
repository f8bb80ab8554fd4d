// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order, Receipt} from "../types/Orders.sol";
import {Commit, Entry, Opening, RoadJob} from "../types/Roads.sol";
import {ICourt} from "./ICourt.sol";
import {IMarket} from "./IMarket.sol";
import {IProviders} from "./IProviders.sol";
import {IVault} from "./IVault.sol";

/// @title The road for a job whose parties no longer co-operate
/// @notice Step by step on chain, to the verdict that Market would reach from a receipt: open, commit, reveal,
/// finalize. No step depends on its sender: authority lies in signatures and in opened commitments alone.
/// @dev What a step needs beside the one slot of a job is supplied again by its caller: the order, the round and the
/// entries, all of which the events and call data of the earlier steps hold. How a job ends is told by Market's own
/// events, which Road emits: JobSettled or JobWithoutQuorum (here the silent may be slashed).
interface IRoad {
    /// @notice A job was taken to the road; its worst cost left the budget and its nonce is spent.
    /// @param round What every tag of this job is made with.
    /// @param deadline Unix seconds until which operators may commit, or reveal where the set is fixed.
    /// @param isFixed Whether the scheduler's own commit set was brought, so that nobody can join any more.
    event RoadOpened(
        bytes32 indexed job,
        address indexed requester,
        address indexed scheduler,
        uint32 round,
        uint40 deadline,
        bool isFixed
    );
    /// @notice An operator's commitment stands and its bond is locked.
    event ProviderCommitted(
        bytes32 indexed job, address indexed operator, uint8 ticket, uint64 rate, bytes32 commitment
    );
    /// @notice An operator's place went to a lower ticket; its bond is let go.
    event ProviderDisplaced(bytes32 indexed job, address indexed operator);
    /// @notice An operator's commitment was opened in time.
    event ProviderRevealed(
        bytes32 indexed job, address indexed operator, bytes32 tag, uint32 secs, bytes32 salt
    );

    error Road_AuditInvalid();
    error Road_CommitSignatureInvalid(address operator);
    error Road_ContextWrong(bytes32 job);
    error Road_CostTooHigh(uint256 cost);
    error Road_ExpiryTooFar(uint64 expiry);
    error Road_NoCommit();
    error Road_NoPlaceLeft(address operator);
    error Road_NoQuorumInReceipt();
    error Road_NotCommitting(bytes32 job);
    error Road_NotOpen(bytes32 job);
    error Road_NotRevealing(bytes32 job);
    error Road_NotCourt(address caller);
    error Road_OpeningMissing(bytes32 job);
    error Road_OpeningWrong(uint256 index);
    error Road_OperatorNotDrawn();
    error Road_OperatorTwice(address operator);
    error Road_OrderExpired(uint64 expiry);
    error Road_QuorumInvalid();
    error Road_RateTooHigh(address operator);
    error Road_ReceiptRefused(bytes4 reason);
    error Road_ReplicaCountInvalid();
    error Road_RequesterSignatureInvalid();
    error Road_SeedTooOld();
    error Road_SeedUnknown();
    error Road_SetIncomplete();
    error Road_SetSignatureInvalid();
    error Road_SignerNotRegistered();
    error Road_TicketTooHigh(address operator);
    error Road_TooEarly(uint40 deadline);
    error Road_TooLate(uint40 deadline);
    error Road_WiredToOther();

    /// @notice Takes a job to the road with at least one commit, so that only drawn operators' stake can do it.
    /// @param round The round that the commits were signed for; those who join later use it too.
    /// @param commits Of distinct operators, at most the order's replicas.
    /// @param setSig The scheduler's signature over the commitments of all replicas, by rising ticket: they are fixed
    /// at once. Empty without one: operators with lower tickets may still commit, until the order's expiry and for
    /// ROAD_WINDOW seconds at least.
    function open(
        Order calldata order,
        bytes calldata requesterSig,
        uint32 round,
        Commit[] calldata commits,
        bytes calldata setSig
    ) external;

    /// @notice Adds commits to a job whose commit deadline has not passed. Where all places are taken, a lower
    /// ticket takes the place of the highest, whose stake is let go.
    function commit(Order calldata order, uint32 round, Entry[] calldata entries, Commit[] calldata commits)
        external;

    /// @notice Opens commitments of a fixed set. What is open already stays as it is.
    function reveal(bytes32 job, uint32 round, Entry[] calldata entries, Opening[] calldata openings) external;

    /// @notice Ends a job: once all commitments are open, or once time is up.
    /// @param openings All that were revealed, by rising index, and any that this call reveals in time. None where
    /// too few operators for a quorum had committed by the deadline.
    function finalize(
        Order calldata order,
        uint32 round,
        Entry[] calldata entries,
        Opening[] calldata openings
    ) external;

    /// @notice Ends a job that is still open by its complete receipt, if that holds a quorum.
    function settle(Receipt calldata receipt, uint32 round, Entry[] calldata entries) external;

    /// @notice What the road knows of a job. The state says nothing of a deadline that has passed.
    function jobs(bytes32 job) external view returns (RoadJob memory);

    /// @notice The contract that holds the money.
    function vault() external view returns (IVault);

    /// @notice The contract that draws operators.
    function providers() external view returns (IProviders);

    /// @notice The contract whose jobs are panels: no signature, up to 17 replicas, and it alone brings their commits.
    function court() external view returns (ICourt);

    /// @notice The contract whose receipts override the road, and whose EIP-712 domain everything is signed for.
    function market() external view returns (IMarket);
}
