// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ISchedulers} from "./interfaces/ISchedulers.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Assign, SchedulerBond} from "./types/Assignments.sol";

/// @notice Holds schedulers' bonds and takes them from who contradicts itself; see ISchedulers.
/// @dev A module of the Vault: its escrow there is the sum of all bonds, to the unit. Nothing on the way out asks
/// anybody's books for permission: the Vault credits what this escrow holds.
contract Schedulers is ISchedulers {
    using SafeCast for uint256;

    /// @notice Seconds for which a bond stays slashable after its scheduler gave notice.
    uint256 public constant SCHEDULER_NOTICE = Parameters.SCHEDULER_NOTICE;

    IVault private immutable VAULT;
    address private immutable MARKET;

    mapping(address scheduler => SchedulerBond) private _bonds;

    constructor(IVault vault_) {
        if (!vault_.isModule(address(this))) revert Schedulers_NotModule(address(vault_));
        VAULT = vault_;
        MARKET = vault_.market();
    }

    // --- bonds --------------------------------------------------------------------------------

    /// @inheritdoc ISchedulers
    function bond(uint64 amount) external {
        SchedulerBond memory books = _bonds[msg.sender];
        if (books.caught) revert Schedulers_Caught(msg.sender);
        if (amount == 0) revert Schedulers_AmountZero();
        books.amount += amount;
        books.leavesAt = 0;
        _bonds[msg.sender] = books;
        emit SchedulerBonded(msg.sender, amount, books.amount);
        VAULT.collect(msg.sender, amount);
    }

    /// @inheritdoc ISchedulers
    function giveNotice() external {
        SchedulerBond memory books = _bonds[msg.sender];
        if (books.amount == 0) revert Schedulers_NothingBonded(msg.sender);
        if (books.leavesAt != 0) revert Schedulers_AlreadyLeaving(msg.sender, books.leavesAt);
        books.leavesAt = (block.timestamp + Parameters.SCHEDULER_NOTICE).toUint48();
        _bonds[msg.sender] = books;
        emit SchedulerLeaving(msg.sender, books.leavesAt);
    }

    /// @inheritdoc ISchedulers
    function reclaim(address scheduler) external {
        SchedulerBond memory books = _bonds[scheduler];
        if (books.leavesAt == 0) revert Schedulers_NotLeaving(scheduler);
        if (block.timestamp < books.leavesAt) revert Schedulers_StillSlashable(scheduler, books.leavesAt);
        delete _bonds[scheduler];
        emit SchedulerLeft(scheduler, books.amount);
        VAULT.pay(scheduler, books.amount);
    }

    // --- offences -----------------------------------------------------------------------------

    /// @inheritdoc ISchedulers
    function slashFork(
        Assign calldata first,
        bytes calldata firstSig,
        Assign calldata second,
        bytes calldata secondSig
    ) external {
        if (first.job != second.job || first.sequence != second.sequence) {
            revert Schedulers_NoOffence();
        }
        bytes32 firstHash = TypedData.hashAssign(first);
        bytes32 secondHash = TypedData.hashAssign(second);
        if (firstHash == secondHash) revert Schedulers_NoOffence();
        _slash(first.job, _commonSigner(firstHash, firstSig, secondHash, secondSig));
    }

    /// @inheritdoc ISchedulers
    function slashOmission(
        Assign calldata earlier,
        bytes calldata earlierSig,
        Assign calldata later,
        bytes calldata laterSig,
        address omitted
    ) external {
        if (earlier.job != later.job || earlier.sequence >= later.sequence) {
            revert Schedulers_NoOffence();
        }
        if (!_names(earlier, omitted) || _names(later, omitted)) revert Schedulers_NoOffence();
        bytes32 earlierHash = TypedData.hashAssign(earlier);
        bytes32 laterHash = TypedData.hashAssign(later);
        _slash(earlier.job, _commonSigner(earlierHash, earlierSig, laterHash, laterSig));
    }

    /// @inheritdoc ISchedulers
    function slashCommitSets(
        bytes32 job,
        uint32 round,
        bytes32 firstCommits,
        bytes calldata firstSig,
        bytes32 secondCommits,
        bytes calldata secondSig
    ) external {
        if (firstCommits == secondCommits) revert Schedulers_NoOffence();
        bytes32 firstHash = TypedData.hashCommitSet(job, round, firstCommits);
        bytes32 secondHash = TypedData.hashCommitSet(job, round, secondCommits);
        _slash(job, _commonSigner(firstHash, firstSig, secondHash, secondSig));
    }

    // --- views --------------------------------------------------------------------------------

    /// @inheritdoc ISchedulers
    function bondOf(address scheduler) external view returns (SchedulerBond memory) {
        return _bonds[scheduler];
    }

    /// @inheritdoc ISchedulers
    function slashableUntil(address scheduler) external view returns (uint256) {
        uint256 leavesAt = _bonds[scheduler].leavesAt;
        return leavesAt == 0 ? block.timestamp + Parameters.SCHEDULER_NOTICE : leavesAt;
    }

    /// @inheritdoc ISchedulers
    function vault() external view returns (IVault) {
        return VAULT;
    }

    /// @inheritdoc ISchedulers
    function market() external view returns (address) {
        return MARKET;
    }

    // --- internals ----------------------------------------------------------------------------

    /// @dev Also within a notice, and after it until the bond was really taken back.
    function _slash(bytes32 job, address scheduler) private {
        uint64 amount = _bonds[scheduler].amount;
        if (amount == 0) revert Schedulers_NothingBonded(scheduler);
        _bonds[scheduler] = SchedulerBond({amount: 0, leavesAt: 0, caught: true});
        emit SchedulerSlashed(scheduler, job, amount);
        VAULT.pay(VAULT.treasury(), amount);
    }

    function _names(Assign calldata assign, address operator) private pure returns (bool) {
        return _contains(assign.operators, operator) || _contains(assign.replaced, operator);
    }

    function _contains(address[] calldata list, address operator) private pure returns (bool) {
        for (uint256 i = 0; i < list.length; ++i) {
            if (list[i] == operator) return true;
        }
        return false;
    }

    function _commonSigner(
        bytes32 firstHash,
        bytes calldata firstSig,
        bytes32 secondHash,
        bytes calldata secondSig
    ) private view returns (address signer) {
        signer = _signerOf(firstHash, firstSig);
        address second = _signerOf(secondHash, secondSig);
        if (signer != second) revert Schedulers_SignersDiffer(signer, second);
    }

    /// @dev Made anew each time: a fork of the chain has another id.
    function _signerOf(bytes32 structHash, bytes calldata signature) private view returns (address signer) {
        bytes32 digest = MessageHashUtils.toTypedDataHash(TypedData.domainSeparator(MARKET), structHash);
        (signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (signer == address(0)) revert Schedulers_SignatureInvalid();
    }
}
