// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order, Receipt} from "../types/Orders.sol";
import {ICourt} from "./ICourt.sol";
import {IProviders} from "./IProviders.sol";
import {IVault} from "./IVault.sol";

/// @title Jobs, settled by the answer that most of their replicas agree on
/// @notice Anyone holding receipts may settle them: nothing depends on the sender.
interface IMarket {
    /// @notice A quorum formed.
    /// @param tag The first winner's tag; only its first 28 bytes were voted on.
    /// @param winners One bit per replica, lowest ticket first.
    /// @param secs Seconds that each winner is paid for, at its own rate.
    /// @param fee Part of the cost, paid to the scheduler.
    /// @param cost All that left the requester's budget.
    event JobSettled(
        bytes32 indexed job,
        address indexed requester,
        address indexed scheduler,
        bytes32 tag,
        uint256 winners,
        uint32 secs,
        uint64 fee,
        uint64 cost
    );
    /// @notice No quorum formed: effort was paid, nobody was slashed, no fee was due, the nonce is spent.
    event JobWithoutQuorum(
        bytes32 indexed job, address indexed requester, address indexed scheduler, uint64 cost
    );
    /// @notice An operator was paid, for winning or for its effort: the job's own event says which.
    event ProviderPaid(bytes32 indexed job, address indexed operator, uint64 amount);
    /// @notice An operator that the quorum contradicted lost `amount`: the order's bond, or all the stake that it had
    /// left. It is the treasury's unless a panel says otherwise (ICourt); on the road the silent lose it for good.
    event ProviderSlashed(bytes32 indexed job, address indexed operator, uint64 amount);
    /// @notice A receipt was passed over and cost nobody anything.
    /// @param reason The selector of the error below that explains it.
    event ReceiptSkipped(bytes32 indexed job, bytes4 reason);

    error Market_BudgetTooSmall();
    error Market_ExpiryTooFar();
    error Market_NonceSpent();
    error Market_OperatorNotDrawn();
    error Market_OperatorTwice();
    error Market_OrderExpired();
    error Market_QuorumInvalid();
    error Market_RateTooHigh();
    error Market_ReplicaCountInvalid();
    error Market_RequesterSignatureInvalid();
    error Market_RevealSignatureInvalid();
    error Market_SeedTooOld();
    error Market_SeedUnknown();
    error Market_SignerNotRegistered();
    error Market_TicketTooHigh();
    error Market_TicketsNotRising();

    error Market_WiredToOther(address market);

    /// @notice Settles each receipt that is good and logs the reason of each that is not.
    function settle(Receipt[] calldata receipts) external;

    /// @notice The job id of an order: its EIP-712 digest.
    function jobId(Order calldata order) external view returns (bytes32);

    /// @notice What a provider signs when it commits, for a scheduler or for the on-chain road.
    function commitDigest(bytes32 job, uint32 round, uint64 rate, bytes32 commitment)
        external
        view
        returns (bytes32);

    /// @notice What a provider signs when it reveals.
    function revealDigest(bytes32 job, bytes32 commits, bytes32 tag, uint64 rate, uint32 secs)
        external
        view
        returns (bytes32);

    /// @notice What a provider commits to.
    function commitment(bytes32 job, address operator, bytes32 tag, uint32 secs, bytes32 salt)
        external
        pure
        returns (bytes32);

    /// @notice The EIP-712 domain separator.
    function domainSeparator() external view returns (bytes32);

    /// @notice The contract that holds the money.
    function vault() external view returns (IVault);

    /// @notice The contract that draws operators.
    function providers() external view returns (IProviders);

    /// @notice The contract that calls panels.
    function court() external view returns (ICourt);

    /// @notice What `settle` would make of a receipt, whatever its order's expiry, nonce and budget: Road asks, which
    /// looked at those when it took the job.
    /// @return reason The selector of the error above that refuses it; zero for a good one.
    /// @return winners One bit per replica, lowest ticket first; none without a quorum.
    /// @return secs Seconds that each winner is paid for.
    function judge(Receipt calldata receipt)
        external
        view
        returns (bytes4 reason, uint256 winners, uint256 secs);
}
