// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ILeases} from "./interfaces/ILeases.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Lease, LeaseStatus, Terms} from "./types/ServiceLeases.sol";

/// @notice Pays for services by the second; see ILeases.
/// @dev A module of the Vault: its escrow there is the sum of all open leases' escrow, to the unit. Nothing on the
/// way out (settle, stop) asks anybody's books for permission: the Vault credits what this escrow holds.
contract Leases is ILeases, EIP712 {
    using SafeCast for uint256;

    /// @notice Longest notice: like a closed budget, a stopped lease holds nobody's money longer than this.
    uint256 public constant NOTICE_MAX = Parameters.NOTICE;

    /// @dev Stands for "nobody has stopped it", so that an end is always the smaller of two times.
    uint48 private constant NEVER = type(uint48).max;

    bytes32 private constant TERMS_TYPEHASH = keccak256(
        "Terms(address requester,address operator,bytes32 spec,bytes32 hardwareClass,address scheduler,"
        "uint48 rate,uint48 feeRate,uint64 escrow,uint32 notice,uint64 startBy,uint256 nonce)"
    );

    IVault private immutable VAULT;
    IProviders private immutable PROVIDERS;

    mapping(bytes32 lease => Lease) private _leases;

    constructor(IVault vault_) EIP712("Assay", "1") {
        if (!vault_.isModule(address(this))) revert Leases_NotModule(address(vault_));
        VAULT = vault_;
        PROVIDERS = IProviders(vault_.providers());
    }

    // --- starting -----------------------------------------------------------------------------

    /// @inheritdoc ILeases
    function start(Terms calldata terms, bytes calldata requesterSig, bytes calldata operatorSig)
        external
        returns (bytes32 lease)
    {
        _checkTerms(terms);
        lease = leaseId(terms);
        if (_leases[lease].status != LeaseStatus.None) revert Leases_TermsUsed(lease);
        if (!_requesterAgrees(terms.requester, lease, requesterSig)) {
            revert Leases_RequesterSignatureInvalid();
        }
        if (!_operatorAgrees(terms.operator, lease, operatorSig)) revert Leases_OperatorSignatureInvalid();
        _open(lease, terms);
        VAULT.collect(terms.requester, terms.escrow);
    }

    /// @inheritdoc ILeases
    function cancel(Terms calldata terms) external {
        if (msg.sender != terms.requester && !_isOperator(terms.operator, msg.sender)) {
            revert Leases_NotParty(msg.sender);
        }
        bytes32 lease = leaseId(terms);
        if (_leases[lease].status != LeaseStatus.None) revert Leases_TermsUsed(lease);
        _leases[lease].status = LeaseStatus.Ended;
        emit LeaseCancelled(lease, msg.sender);
    }

    // --- running ------------------------------------------------------------------------------

    /// @inheritdoc ILeases
    function topUp(bytes32 lease, uint64 amount) external {
        Lease memory books = _requireRunning(lease);
        books.escrow += amount;
        _leases[lease].escrow = books.escrow;
        emit LeaseToppedUp(lease, msg.sender, amount, _endOf(books));
        VAULT.collect(msg.sender, amount);
    }

    /// @inheritdoc ILeases
    function stop(bytes32 lease) external {
        Lease memory books = _requireRunning(lease);
        uint256 stopsAt = block.timestamp;
        if (msg.sender != books.operator) {
            if (msg.sender == books.requester) stopsAt += books.notice;
            else if (!PROVIDERS.isSigner(books.operator, msg.sender)) revert Leases_NotParty(msg.sender);
        }
        if (stopsAt >= books.stopsAt) revert Leases_AlreadyStopped(lease, books.stopsAt);
        books.stopsAt = stopsAt.toUint48();
        _leases[lease].stopsAt = books.stopsAt;
        emit LeaseStopped(lease, msg.sender, stopsAt);
        if (stopsAt == block.timestamp) _settle(lease, books);
    }

    /// @inheritdoc ILeases
    function settle(bytes32 lease) external {
        _settle(lease, _requireOpen(lease));
    }

    // --- views --------------------------------------------------------------------------------

    /// @inheritdoc ILeases
    function leaseOf(bytes32 lease) external view returns (Lease memory) {
        return _leases[lease];
    }

    /// @inheritdoc ILeases
    function endsAt(bytes32 lease) external view returns (uint256) {
        return _endOf(_requireOpen(lease));
    }

    /// @inheritdoc ILeases
    function earned(bytes32 lease) external view returns (uint64 amount, uint64 fee) {
        Lease memory books = _requireOpen(lease);
        return _due(books, Math.min(block.timestamp, _endOf(books)));
    }

    /// @inheritdoc ILeases
    function domainSeparator() external view returns (bytes32) {
        return _domainSeparatorV4();
    }

    /// @inheritdoc ILeases
    function vault() external view returns (IVault) {
        return VAULT;
    }

    /// @inheritdoc ILeases
    function providers() external view returns (IProviders) {
        return PROVIDERS;
    }

    /// @inheritdoc ILeases
    function leaseId(Terms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(TERMS_TYPEHASH, terms)));
    }

    // --- internals ----------------------------------------------------------------------------

    function _checkTerms(Terms calldata terms) private view {
        if (block.timestamp > terms.startBy) revert Leases_StartTooLate(terms.startBy);
        if (terms.notice > NOTICE_MAX) revert Leases_NoticeTooLong(terms.notice, NOTICE_MAX);
        if (terms.rate == 0) revert Leases_RateZero(); // it would never run out
        if (terms.scheduler == address(0) && terms.feeRate != 0) revert Leases_FeeToNobody();
        uint256 needed = terms.notice * (uint256(terms.rate) + terms.feeRate);
        if (terms.escrow < needed) revert Leases_EscrowTooSmall(terms.escrow, needed);
        if (PROVIDERS.seatsOf(terms.operator, terms.hardwareClass) == 0) {
            revert Leases_NoSeat(terms.operator, terms.hardwareClass);
        }
    }

    function _open(bytes32 lease, Terms calldata terms) private {
        _leases[lease] = Lease({
            requester: terms.requester,
            escrow: terms.escrow,
            notice: uint256(terms.notice).toUint24(),
            status: LeaseStatus.Open,
            operator: terms.operator,
            paidUntil: block.timestamp.toUint48(),
            stopsAt: NEVER,
            scheduler: terms.scheduler,
            rate: terms.rate,
            feeRate: terms.feeRate
        });
        emit LeaseStarted(
            lease,
            terms.requester,
            terms.operator,
            terms.scheduler,
            terms.spec,
            terms.rate,
            terms.feeRate,
            terms.escrow,
            terms.notice
        );
    }

    /// @dev Books first, money after: each payment is covered by what just left the lease's escrow.
    function _settle(bytes32 lease, Lease memory books) private {
        uint256 end = _endOf(books);
        bool over = block.timestamp >= end;
        uint256 until = over ? end : block.timestamp;
        (uint64 amount, uint64 fee) = _due(books, until);
        uint64 left = books.escrow - amount - fee;

        Lease storage stored = _leases[lease];
        stored.paidUntil = until.toUint48();
        stored.escrow = over ? 0 : left;
        if (over) stored.status = LeaseStatus.Ended;
        emit LeasePaid(lease, amount, fee, until);
        if (over) emit LeaseEnded(lease, left);

        if (amount != 0) VAULT.pay(books.operator, amount);
        if (fee != 0) VAULT.pay(books.scheduler, fee);
        if (over && left != 0) VAULT.pay(books.requester, left);
    }

    /// @dev What ran out has ended: later money must not pay for the seconds in between.
    function _requireRunning(bytes32 lease) private view returns (Lease memory books) {
        books = _requireOpen(lease);
        uint256 end = _endOf(books);
        if (block.timestamp >= end) revert Leases_Over(lease, end);
    }

    function _requireOpen(bytes32 lease) private view returns (Lease memory books) {
        books = _leases[lease];
        if (books.status != LeaseStatus.Open) revert Leases_NotOpen(lease);
    }

    function _requesterAgrees(address requester, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool)
    {
        return msg.sender == requester || (requester != address(0) && _signer(digest, signature) == requester);
    }

    function _operatorAgrees(address operator, bytes32 digest, bytes calldata signature)
        private
        view
        returns (bool)
    {
        return msg.sender == operator || _isOperator(operator, _signer(digest, signature));
    }

    /// @dev Nobody is the zero address: it holds no seat, and is no key of anybody.
    function _isOperator(address operator, address who) private view returns (bool) {
        return who == operator || PROVIDERS.isSigner(operator, who);
    }

    /// @dev Whole seconds only, so that neither the order of payments nor their number changes a sum. At most what
    /// the escrow pays for: the products below fit 64 bits because the escrow does.
    function _endOf(Lease memory books) private pure returns (uint256) {
        uint256 funded = books.escrow / (uint256(books.rate) + books.feeRate);
        return Math.min(books.paidUntil + funded, books.stopsAt);
    }

    /// @param until At least `paidUntil`, at most the lease's end.
    function _due(Lease memory books, uint256 until) private pure returns (uint64 amount, uint64 fee) {
        uint256 secs = until - books.paidUntil;
        return ((secs * books.rate).toUint64(), (secs * books.feeRate).toUint64());
    }

    /// @dev Plain ECDSA by a key: a contract could take its word back once the work is done.
    function _signer(bytes32 digest, bytes calldata signature) private pure returns (address) {
        (address recovered, ECDSA.RecoverError err,) = ECDSA.tryRecoverCalldata(digest, signature);
        return err == ECDSA.RecoverError.NoError ? recovered : address(0);
    }
}
