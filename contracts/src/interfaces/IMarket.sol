// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order, Receipt} from "../types/Orders.sol";
import {Share} from "../types/Share.sol";
import {ICourt} from "./ICourt.sol";
import {IProviders} from "./IProviders.sol";
import {IVault} from "./IVault.sol";

/// @title Jobs, settled by the answer that most of their replicas agree on
/// @notice Anyone holding receipts may settle them: nothing depends on the sender.
interface IMarket {
    /// @notice A quorum formed. All the shares but the slashed ones left the requester's budget.
    /// @param vote The winners' vote: the first 28 bytes of their tag, and the 4 bytes of the seconds that each winner
    /// is paid for, at its own rate.
    /// @param shares One for each replica, lowest ticket first: won, or slashed by the amount that it really lost, which
    /// is the treasury's unless a panel says otherwise (ICourt); and the scheduler's fee.
    event JobSettled(bytes32 indexed job, address indexed requester, bytes32 vote, Share[] shares);
    /// @notice No quorum formed: effort was paid, nobody was slashed, the fee is nothing, the nonce is spent.
    event JobWithoutQuorum(bytes32 indexed job, address indexed requester, Share[] shares);
    /// @notice A receipt was passed over and cost nobody anything.
    /// @param reason The selector of the error below that explains it.
    event ReceiptSkipped(bytes32 indexed job, bytes4 reason);

    error Market_AuditInvalid();
    error Market_BudgetTooSmall();
    error Market_ExpiryTooFar();
    error Market_NonceSpent();
    error Market_OperatorNotDrawn();
    error Market_OperatorTwice();
    error Market_OrderExpired();
    error Market_PackedMalformed(uint256 position);
    error Market_PackedTooManyFor(address signer);
    error Market_PackedUnknownVersion(uint256 version);
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

    /// @notice The same for receipts in the packed form, which docs/protocol/settlement.md lays out byte by byte.
    /// @dev Bytes that are not of that form revert before anything is settled.
    function settlePacked(bytes calldata packed) external;

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

    /// @notice What a requester signs to sign all of its orders in a batch at once; `orders` are their struct hashes.
    function ordersDigest(uint256[] calldata orders) external view returns (bytes32);

    /// @notice What a provider signs to sign all of its reveals in a batch at once; `reveals` are their struct hashes.
    function revealsDigest(uint256[] calldata reveals) external view returns (bytes32);

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
