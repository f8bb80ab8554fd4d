// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account, Budget} from "../../src/types/Accounts.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice A random life of the market; forge calls the functions below in any order.
/// @dev Each does what its party can do now, so nothing here may revert.
contract MarketHandler is MarketFixture {
    /// @dev What came in less what went out; nothing else may change how much there is.
    uint256 private _inside;
    uint256 private _nonce;

    constructor() {
        setUp();
        _inside = vault.total();
    }

    function deposit(uint256 who, uint64 amount) external {
        amount = uint64(bound(amount, 1, 10_000e6));
        _deposit(_anybody(who), amount);
        _inside += amount;
    }

    function withdraw(uint256 who, uint64 amount) external {
        address party = _anybody(who);
        uint64 part = uint64(bound(amount, 0, _free(party)));
        vm.prank(party);
        vault.withdraw(party, part);
        _inside -= part;
    }

    function fund(uint256 who, uint64 amount) external {
        address party = _requester(who % REQUESTERS);
        uint64 part = uint64(bound(amount, 0, _free(party)));
        vm.prank(party);
        vault.fund(scheduler, part);
    }

    function close(uint256 who) external {
        address party = _requester(who % REQUESTERS);
        if (vault.budget(party, scheduler).closesAt != 0) return;
        vm.prank(party);
        vault.close(scheduler);
    }

    function reclaim(uint256 who) external {
        address party = _requester(who % REQUESTERS);
        Budget memory budget = vault.budget(party, scheduler);
        if (budget.closesAt == 0 || vm.getBlockTimestamp() < budget.closesAt) return;
        vm.prank(party);
        vault.reclaim(scheduler);
    }

    function stake(uint256 who, uint256 seats) external {
        address operator = _operator(who % OPERATORS);
        uint256 affordable = _free(operator) / SEAT;
        if (affordable == 0) return;
        seats = bound(seats, 1, affordable < 3 ? affordable : 3);
        vm.prank(operator);
        providers.stake(CLASS, seats);
    }

    function unstake(uint256 who, uint256 seats) external {
        address operator = _operator(who % OPERATORS);
        uint256 held = providers.seatsOf(operator, CLASS);
        // Enough operators stay for a draw.
        if (held == 0 || providers.seatCount(CLASS) < OPERATORS + held) return;
        seats = bound(seats, 1, held);
        vm.prank(operator);
        providers.unstake(CLASS, seats);
    }

    function exit(uint256 who) external {
        address operator = _operator(who % OPERATORS);
        (uint256 seats, uint256 readyAt) = providers.standing(operator);
        Account memory books = _account(operator);
        if (books.bond <= seats * SEAT || books.bond == books.locked) return;
        if (vm.getBlockTimestamp() < readyAt) return;
        vm.prank(operator);
        providers.exit();
    }

    function topUp(uint256 who, uint64 amount) external {
        address operator = _operator(who % OPERATORS);
        uint64 part = uint64(bound(amount, 0, _free(operator)));
        vm.prank(operator);
        providers.topUp(part);
    }

    function evict(uint256 who) external {
        address operator = _operator(who % OPERATORS);
        uint256 seats = providers.seatsOf(operator, CLASS);
        if (seats * SEAT / 2 <= _account(operator).bond) return;
        if (providers.seatCount(CLASS) < OPERATORS) return;
        providers.evict(operator, CLASS, 1);
    }

    function settle(uint256 who, uint256 lies, uint64 bond) external {
        _nextSeed(abi.encode(_nonce));
        Receipt[] memory receipts = new Receipt[](3);
        for (uint256 i = 0; i < 3; ++i) {
            // The middle one's nonce is often spent already.
            uint256 nonce = i == 1 && lies & 1 == 1 ? lies % (_nonce + 1) : _nonce++;
            Order memory order = _order((who >> 8 * i) % REQUESTERS, nonce);
            order.bond = uint64(bound(bond, 0, 400e6));
            order.maxTicket = 255;
            receipts[i] = _answered(order, lies >> 8 * i);
        }
        market.settle(receipts);
    }

    function pass(uint256 secs) external {
        vm.warp(vm.getBlockTimestamp() + bound(secs, 1, 2 days));
        vm.roll(vm.getBlockNumber() + 1);
    }

    /// @notice All that the books hold, and the tokens behind it.
    function assertSolvent() external view {
        _assertSolvent();
        assertEq(vault.total(), _inside, "no job makes or loses money");
    }

    /// @notice Seats are somebody's, once, and in all what their operators think.
    function assertSeats() external view {
        uint256 seats = 0;
        for (uint256 i = 0; i < OPERATORS; ++i) {
            uint256 held = providers.seatsOf(_operator(i), CLASS);
            (uint256 all,) = providers.standing(_operator(i));
            assertEq(held, all, "one class only");
            seats += held;
        }
        assertEq(seats, providers.seatCount(CLASS), "all are held");
    }

    function _anybody(uint256 who) private pure returns (address) {
        who %= OPERATORS + REQUESTERS;
        return who < OPERATORS ? _operator(who) : _requester(who - OPERATORS);
    }

    function _answered(Order memory order, uint256 lies) private view returns (Receipt memory receipt) {
        bytes32 job = market.jobId(order);
        receipt = _draft(order);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = _answer(job, lies >> 2 * i & 3);
            receipt.replicas[i].secs = uint32(lies >> 5 * i);
        }
        return _seal(receipt);
    }
}

/// @notice What holds whatever anybody does.
contract MarketInvariantTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    MarketHandler private _handler;

    function setUp() public {
        _handler = new MarketHandler();
    }

    /// @dev Read by forge: whom it calls.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev Read by forge: what it does not call.
    function excludeSelectors() public view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](1));
        excluded[0].selectors[0] = MarketFixture.setUp.selector;
    }

    function invariant_solvent() public view {
        _handler.assertSolvent();
        _handler.assertSeats();
    }
}
