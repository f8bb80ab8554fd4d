// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assign, SchedulerBond} from "../types/Assignments.sol";
import {IVault} from "./IVault.sol";

/// @title What schedulers put at stake for keeping their word
/// @notice A scheduler holds nobody's money, but it can waste work: by giving one replica to two providers, or by
/// showing two commit sets. Both take two signatures that an honest scheduler never makes together; whoever holds them
/// may bring them, and the whole bond goes to the treasury. Nothing of it goes to who brings them: a scheduler that is
/// about to be caught could bring them itself, and evidence is copied from the waiting transactions.
/// @dev Every signature is over Market's EIP-712 domain, so it counts on one chain and for one market only. There is no
/// judgement in it, hence no appeal: two such signatures prove the offence, however they came to be.
interface ISchedulers {
    /// @notice `amount` of a scheduler's free money became bond, which is now `bonded`.
    event SchedulerBonded(address indexed scheduler, uint64 amount, uint64 bonded);
    /// @notice A scheduler gave notice; its bond stays slashable until `leavesAt` (Unix seconds).
    event SchedulerLeaving(address indexed scheduler, uint256 leavesAt);
    /// @notice A scheduler took its bond back.
    event SchedulerLeft(address indexed scheduler, uint64 amount);
    /// @notice A scheduler contradicted itself in a job, and lost its bond.
    event SchedulerSlashed(address indexed scheduler, bytes32 indexed job, uint64 amount);

    error Schedulers_AlreadyLeaving(address scheduler, uint256 leavesAt);
    error Schedulers_AmountZero();
    error Schedulers_Caught(address scheduler);
    error Schedulers_NoOffence();
    error Schedulers_NotLeaving(address scheduler);
    error Schedulers_NotModule(address vault);
    error Schedulers_NothingBonded(address scheduler);
    error Schedulers_SignatureInvalid();
    error Schedulers_SignersDiffer(address first, address second);
    error Schedulers_StillSlashable(address scheduler, uint256 leavesAt);

    /// @notice Adds `amount` of the caller's free money to its bond, and takes back a notice.
    function bond(uint64 amount) external;

    /// @notice Gives notice: the bond stays slashable for SCHEDULER_NOTICE seconds, and is the caller's after that.
    function giveNotice() external;

    /// @notice Makes the bond of a scheduler whose notice is over its free money. Anyone may call.
    function reclaim(address scheduler) external;

    /// @notice Slashes the scheduler that signed two different assignments of one number for one job.
    function slashFork(
        Assign calldata first,
        bytes calldata firstSig,
        Assign calldata second,
        bytes calldata secondSig
    ) external;

    /// @notice Slashes the scheduler that signed an assignment which keeps silent on an operator of an earlier one.
    /// @param omitted Named in `earlier`, among the operators or the replaced, and nowhere in `later`.
    function slashOmission(
        Assign calldata earlier,
        bytes calldata earlierSig,
        Assign calldata later,
        bytes calldata laterSig,
        address omitted
    ) external;

    /// @notice Slashes the scheduler that signed two different commit sets for one round of one job.
    /// @param firstCommits The hash of one set's commitments, as it is signed.
    /// @param secondCommits The hash of the other's.
    function slashCommitSets(
        bytes32 job,
        uint32 round,
        bytes32 firstCommits,
        bytes calldata firstSig,
        bytes32 secondCommits,
        bytes calldata secondSig
    ) external;

    /// @notice What a scheduler has put at stake.
    function bondOf(address scheduler) external view returns (SchedulerBond memory);

    /// @notice Until when that bond is sure to be slashable, in Unix seconds, whatever the scheduler does now.
    function slashableUntil(address scheduler) external view returns (uint256);

    /// @notice The contract that holds the money.
    function vault() external view returns (IVault);

    /// @notice The contract whose EIP-712 domain everything is signed for.
    function market() external view returns (address);
}
