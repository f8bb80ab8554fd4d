// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Leases} from "../../src/Leases.sol";
import {Providers} from "../../src/Providers.sol";
import {Vault} from "../../src/Vault.sol";
import {Account} from "../../src/types/Accounts.sol";
import {Lease, LeaseStatus, Terms} from "../../src/types/ServiceLeases.sol";
import {Assertions} from "./Assertions.sol";
import {PlainToken} from "./Tokens.sol";
import {vm} from "./Vm.sol";

/// @notice A Vault with Leases as its module, an operator with a seat, a requester with money, and a scheduler.
abstract contract LeasesFixture is Assertions {
    uint256 internal constant REQUESTER_KEY = 0x2000;
    uint256 internal constant OPERATOR_KEY = 0x1000;
    uint256 internal constant SIGNER_KEY = 0x3000;
    uint256 internal constant STRANGER_KEY = 0x5000;
    uint64 internal constant MONEY = 10_000e6;
    uint64 internal constant SEAT = 500e6;
    bytes32 internal constant CLASS = keccak256("hardware class");
    address internal constant TREASURY = address(0x7EA5);
    address internal constant MARKET = address(0x3A87);
    address internal constant SCHEDULER = address(0x5C4ED);
    address internal constant STRANGER = address(0x57A9);

    PlainToken internal usd;
    Vault internal vault;
    Providers internal providers;
    Leases internal leases;
    address[] internal parties;
    /// Never read back from the EVM's own timestamp, which the compiler may take for a constant.
    uint256 internal time;

    function setUp() public virtual {
        time = vm.getBlockTimestamp();
        usd = new PlainToken(6);
        uint256 nonce = vm.getNonce(address(this));
        address[] memory modules = new address[](1);
        modules[0] = vm.computeCreateAddress(address(this), nonce + 2);
        vault = new Vault(usd, TREASURY, vm.computeCreateAddress(address(this), nonce + 1), MARKET, modules);
        providers = new Providers(vault);
        leases = new Leases(vault);

        parties.push(TREASURY);
        parties.push(SCHEDULER);
        _newOperator(0);
        _newRequester(0);
    }

    // --- people -------------------------------------------------------------------------------

    function _requester(uint256 i) internal pure returns (address) {
        return vm.addr(REQUESTER_KEY + i);
    }

    function _operator(uint256 i) internal pure returns (address) {
        return vm.addr(OPERATOR_KEY + i);
    }

    function _newRequester(uint256 i) internal {
        parties.push(_requester(i));
        _deposit(_requester(i), MONEY);
    }

    function _newOperator(uint256 i) internal {
        address operator = _operator(i);
        parties.push(operator);
        _deposit(operator, SEAT);
        vm.prank(operator);
        providers.stake(CLASS, 1);
        vm.prank(operator);
        providers.setSigner(vm.addr(SIGNER_KEY + i));
    }

    function _deposit(address party, uint64 amount) internal {
        usd.mint(address(this), amount);
        usd.approve(address(vault), amount);
        vault.deposit(party, amount);
    }

    // --- leases -------------------------------------------------------------------------------

    /// @dev 1,000 a second and 50 for the scheduler; an hour's money, ten minutes' notice.
    function _terms() internal view returns (Terms memory terms) {
        terms = Terms({
            requester: _requester(0),
            operator: _operator(0),
            spec: keccak256("service"),
            hardwareClass: CLASS,
            scheduler: SCHEDULER,
            rate: 1000,
            feeRate: 50,
            escrow: 3600 * 1050,
            notice: 600,
            startBy: uint64(time + 1 hours),
            nonce: 1
        });
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _start(Terms memory terms) internal returns (bytes32) {
        return _startBetween(terms, REQUESTER_KEY, OPERATOR_KEY);
    }

    function _startBetween(Terms memory terms, uint256 requesterKey, uint256 operatorKey)
        internal
        returns (bytes32 lease)
    {
        lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(requesterKey, lease);
        bytes memory operatorSig = _sign(operatorKey, lease);
        vm.prank(STRANGER);
        leases.start(terms, requesterSig, operatorSig);
    }

    function _stop(address by, bytes32 lease) internal {
        vm.prank(by);
        leases.stop(lease);
    }

    function _topUp(address by, bytes32 lease, uint64 amount) internal {
        vm.prank(by);
        leases.topUp(lease, amount);
    }

    function _status(bytes32 lease) internal view returns (LeaseStatus) {
        return leases.leaseOf(lease).status;
    }

    function _assertEnded(bytes32 lease) internal view {
        Lease memory books = leases.leaseOf(lease);
        assertEq(uint256(books.status), uint256(LeaseStatus.Ended), "ended");
        assertEq(books.escrow, 0, "and empty");
    }

    // --- time and money -----------------------------------------------------------------------

    function _pass(uint256 secs) internal {
        time += secs;
        vm.warp(time);
    }

    function _free(address who) internal view returns (uint256) {
        return vault.account(who).free;
    }

    /// @dev Everybody's money and every budget, and the tokens behind it. No party here has a budget.
    function _assertSolvent() internal view {
        uint256 sum = vault.escrow(address(leases));
        for (uint256 i = 0; i < parties.length; ++i) {
            Account memory books = vault.account(parties[i]);
            sum += uint256(books.free) + books.bond;
        }
        assertEq(sum, vault.total(), "the books add up");
        assertEq(usd.balanceOf(address(vault)), vault.total(), "the tokens are there");
    }
}
