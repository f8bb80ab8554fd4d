// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lease, Terms} from "../types/ServiceLeases.sol";
import {IProviders} from "./IProviders.sol";
import {IVault} from "./IVault.sol";

/// @title Long-running services, paid by the second
/// @notice Nobody can check a service as a job is checked, so neither side has to trust the other for more than one
/// notice. With p = rate + feeRate:
/// - Every second up to `endsAt` lies in escrow: nothing that the operator serves goes unpaid, so it risks no pay at
///   all. What it risks is an idle machine, and it has a notice to prevent that: the escrow covers notice x p at the
///   start, `endsAt` moves towards now only by a stop, and a stop of the requester's leaves it at now + notice
///   unless the money ends sooner, which the operator could see coming.
/// - A requester that stops at t pays for no second after t + notice: notice x p at most. It gets the rest back then.
///   What it paid before t it could have saved by stopping before: the contract cannot see whether a service serves.
/// @dev The operator's seat shows that it is somebody, and in which class. No stake is locked: nothing here could
/// judge a service and slash it, and a lock that never slashes would only keep the operator from leaving.
interface ILeases {
    /// @notice A lease started; its `escrow` left the requester's free money.
    event LeaseStarted(
        bytes32 indexed lease,
        address indexed requester,
        address indexed operator,
        address scheduler,
        bytes32 spec,
        uint256 rate,
        uint256 feeRate,
        uint64 escrow,
        uint256 notice
    );
    /// @notice `from` added `amount`; if nobody stops it the lease now ends at `endsAt` (Unix seconds).
    event LeaseToppedUp(bytes32 indexed lease, address indexed from, uint64 amount, uint256 endsAt);
    /// @notice One of its parties stopped a lease: nothing is paid for from `stopsAt` (Unix seconds) on.
    event LeaseStopped(bytes32 indexed lease, address indexed by, uint256 stopsAt);
    /// @notice What was earned up to `paidUntil` (Unix seconds) was paid to the operator and the scheduler.
    event LeasePaid(bytes32 indexed lease, uint64 amount, uint64 fee, uint256 paidUntil);
    /// @notice A lease ended, and what was left went back to the requester.
    event LeaseEnded(bytes32 indexed lease, uint64 refund);
    /// @notice A party took its word back before the lease started.
    event LeaseCancelled(bytes32 indexed lease, address indexed by);

    error Leases_AlreadyStopped(bytes32 lease, uint256 stopsAt);
    error Leases_EscrowTooSmall(uint256 escrow, uint256 needed);
    error Leases_FeeToNobody();
    error Leases_NoSeat(address operator, bytes32 hardwareClass);
    error Leases_NotModule(address vault);
    error Leases_NotOpen(bytes32 lease);
    error Leases_NotParty(address caller);
    error Leases_NoticeTooLong(uint256 notice, uint256 longest);
    error Leases_OperatorSignatureInvalid();
    error Leases_Over(bytes32 lease, uint256 endedAt);
    error Leases_RateZero();
    error Leases_RequesterSignatureInvalid();
    error Leases_StartTooLate(uint256 startBy);
    error Leases_TermsUsed(bytes32 lease);

    /// @notice Starts a lease on terms that both sides agreed to; anyone may bring them. The clock runs from now.
    /// @dev Signatures are plain ECDSA: 65 bytes, low s. The caller's own consent is its call, so a smart wallet
    /// starts what it is a party of by calling this itself.
    /// @param requesterSig By the requester's own key: a signing key sits on a machine and must not spend money.
    /// @param operatorSig By the operator's own key or its signing key in Providers.
    /// @return lease The lease's id.
    function start(Terms calldata terms, bytes calldata requesterSig, bytes calldata operatorSig)
        external
        returns (bytes32 lease);

    /// @notice Takes back the caller's word on terms that have not started; they never will.
    function cancel(Terms calldata terms) external;

    /// @notice Adds `amount` of the caller's free money to a running lease. Anyone may; what is left in the end is the
    /// requester's.
    function topUp(bytes32 lease, uint64 amount) external;

    /// @notice Stops a lease: at once if the operator (or its signing key) calls, after the notice if the requester
    /// does. The operator may still stop it at once during the requester's notice.
    function stop(bytes32 lease) external;

    /// @notice Pays what has been earned, and ends the lease if it is over. Anyone may, at any time.
    function settle(bytes32 lease) external;

    /// @notice A lease's books; all zero if it never started.
    function leaseOf(bytes32 lease) external view returns (Lease memory);

    /// @notice The first second that is not paid for, if nobody stops or tops up (Unix seconds).
    function endsAt(bytes32 lease) external view returns (uint256);

    /// @notice What `settle` would pay now, to the operator and to the scheduler.
    function earned(bytes32 lease) external view returns (uint64 amount, uint64 fee);

    /// @notice The id of the lease on these terms: the EIP-712 digest that both sides sign.
    function leaseId(Terms calldata terms) external view returns (bytes32);

    /// @notice The EIP-712 domain separator.
    function domainSeparator() external view returns (bytes32);

    /// @notice The contract that holds the money.
    function vault() external view returns (IVault);

    /// @notice The contract that knows seats and signing keys.
    function providers() external view returns (IProviders);
}
