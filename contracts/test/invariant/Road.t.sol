// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account} from "../../src/types/Accounts.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {RoadState} from "../../src/types/Roads.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {RoadFixture} from "../utils/RoadFixture.sol";
import {vm} from "../utils/Vm.sol";
import {MarketHandler} from "./Market.t.sol";

/// @notice A random life of a market with jobs on the on-chain road; forge calls the functions in any order.
/// @dev Each step is one that its state allows, so nothing here may revert; `forbidden` tries all the others.
contract RoadHandler is RoadFixture, MarketHandler {
    struct Trip {
        /// The receipt, encoded: what the parties of the job know.
        bytes receipt;
        /// One bit per replica.
        uint256 entered;
        uint256 revealed;
        bool isFixed;
        bool ended;
    }

    uint256 private constant FIRST_NONCE = 1 << 128;

    Trip[] private _trips;

    function open(uint256 who, uint256 lies, uint64 bond, uint256 mask, bool withSet) external {
        _nextSeed(abi.encode("road", _trips.length));
        providers.keepSeed(CLASS, seedBlock); // forge forgets the hash it was told after this call
        Order memory order = _order(who % REQUESTERS, FIRST_NONCE + _trips.length);
        order.bond = uint64(bound(bond, 0, 400e6));
        order.maxTicket = 255;
        Receipt memory receipt = _draft(order);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = _answer(market.jobId(order), lies >> 2 * i & 3);
        }
        receipt = _seal(receipt);
        mask = withSet ? 7 : bound(mask, 1, 7);
        if (vault.budget(order.requester, scheduler).amount < _worstCost(order)) return;
        if (!_canLock(receipt, mask)) return;
        if (withSet) _openFixed(receipt);
        else _open(receipt, mask);
        _trips.push(Trip(abi.encode(receipt), mask, 0, withSet, false));
    }

    function commit(uint256 which, uint256 mask) external {
        (Trip storage trip, Receipt memory receipt) = _trip(which);
        if (_phase(trip, receipt) != Phase.Committing) return;
        mask &= 7 & ~trip.entered;
        if (mask == 0 || !_canLock(receipt, mask)) return;
        _commit(receipt, trip.entered, mask);
        trip.entered |= mask;
    }

    function reveal(uint256 which, uint256 mask) external {
        (Trip storage trip, Receipt memory receipt) = _trip(which);
        if (_phase(trip, receipt) != Phase.Revealing) return;
        mask &= trip.entered;
        _reveal(receipt, trip.entered, mask);
        trip.revealed |= mask;
    }

    function finalize(uint256 which, uint256 mask) external {
        (Trip storage trip, Receipt memory receipt) = _trip(which);
        Phase phase = _phase(trip, receipt);
        if (phase == Phase.Revealing && _count(receipt, trip.entered) >= 2) {
            mask = trip.revealed | mask & trip.entered;
            if (mask != trip.entered) return;
        } else if (phase == Phase.Over || phase == Phase.Revealing) {
            mask = trip.revealed;
        } else {
            return;
        }
        _finalize(receipt, trip.entered, mask);
        trip.ended = true;
    }

    /// @dev The receipt may hold a quorum or not, and the seed may be forgotten by now.
    function override_(uint256 which) external {
        (Trip storage trip, Receipt memory receipt) = _trip(which);
        if (trip.ended) return;
        (bytes4 reason, uint256 winners,) = market.judge(receipt);
        if (reason != 0 || winners == 0) return;
        _override(receipt, receipt, trip.entered);
        trip.ended = true;
    }

    /// @notice No state takes a step that is not its own.
    function forbidden(uint256 which) external {
        (Trip storage trip, Receipt memory receipt) = _trip(which);
        Phase phase = _phase(trip, receipt);
        _refused(_openCall(receipt, 7, ""));
        if (phase != Phase.Committing && trip.entered != 7) {
            _refused(_commitCall(receipt, trip.entered, 7 & ~trip.entered));
        }
        if (phase == Phase.Committing || phase == Phase.None) {
            _refused(_finalizeCall(receipt, trip.entered, trip.entered));
        }
        if (phase != Phase.Revealing) _refused(_revealCall(receipt, trip.entered, trip.entered));
        if (phase == Phase.None) {
            _refused(_finalizeCall(receipt, trip.entered, trip.revealed));
            _refused(_settleCall(receipt, receipt, trip.entered));
        }
        _assertSkips(receipt);
    }

    /// @notice What is held is held for an open job, to the unit.
    function assertHeld() external view {
        uint256 escrow = 0;
        uint256[] memory locked = new uint256[](OPERATORS);
        for (uint256 t = 0; t < _trips.length; ++t) {
            if (_trips[t].ended) continue;
            Receipt memory receipt = abi.decode(_trips[t].receipt, (Receipt));
            escrow += _worstCost(receipt.order);
            for (uint256 i = 0; i < 3; ++i) {
                if (_trips[t].entered >> i & 1 == 0) continue;
                locked[_indexOf(receipt.replicas[i].operator)] += receipt.order.bond;
            }
        }
        assertEq(vault.escrow(address(road)), escrow, "the escrow is the open jobs'");
        for (uint256 i = 0; i < OPERATORS; ++i) {
            Account memory books = _account(_operator(i));
            assertEq(books.locked, locked[i], "locked for open jobs only");
            assertTrue(books.locked <= books.bond, "nothing is promised twice");
        }
    }

    /// @notice Whatever happened, anybody can end every job once time is up, and nothing stays behind.
    function endAll() external {
        vm.warp(vm.getBlockTimestamp() + 2 days);
        for (uint256 t = 0; t < _trips.length; ++t) {
            Trip storage trip = _trips[t];
            if (trip.ended) continue;
            _finalize(abi.decode(trip.receipt, (Receipt)), trip.entered, trip.revealed);
            trip.ended = true;
        }
        assertEq(vault.escrow(address(road)), 0, "no escrow");
        for (uint256 i = 0; i < parties.length; ++i) {
            Account memory books = _account(parties[i]);
            assertEq(books.locked, 0, "no lock");
            vm.prank(parties[i]);
            vault.withdraw(parties[i], books.free);
        }
    }

    enum Phase {
        None,
        Committing,
        Revealing,
        Over
    }

    /// @dev What the road should think of a job now, from its history alone.
    function _phase(Trip storage trip, Receipt memory receipt) private view returns (Phase) {
        if (trip.ended || trip.receipt.length == 0) return Phase.None;
        RoadState state = _stateOf(receipt);
        uint256 deadline = _deadlineOf(receipt);
        assertTrue(state == RoadState.Committing || state == RoadState.Revealing, "open jobs are open");
        assertTrue(!trip.isFixed || state == RoadState.Revealing, "a fixed set stays so");
        if (state == RoadState.Committing) {
            if (vm.getBlockTimestamp() <= deadline) return Phase.Committing;
            deadline += ROAD_WINDOW;
        }
        return vm.getBlockTimestamp() <= deadline ? Phase.Revealing : Phase.Over;
    }

    /// @dev Forge may ask for a job before there is one.
    function _trip(uint256 which) private returns (Trip storage trip, Receipt memory receipt) {
        if (_trips.length == 0) this.open(which, 0, 50e6, 7, which & 1 == 0);
        if (_trips.length == 0) vm.assume(false);
        trip = _trips[which % _trips.length];
        receipt = abi.decode(trip.receipt, (Receipt));
    }

    function _canLock(Receipt memory receipt, uint256 mask) private view returns (bool) {
        for (uint256 i = 0; i < 3; ++i) {
            if (mask >> i & 1 == 0) continue;
            Account memory books = _account(receipt.replicas[i].operator);
            if (books.bond - books.locked < receipt.order.bond) return false;
        }
        return true;
    }

    function _refused(bytes memory step) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done,) = address(road).call(step);
        assertTrue(!done, "a step out of turn");
    }

    function _assertSkips(Receipt memory receipt) private {
        uint256 before = vault.escrow(address(road));
        bytes32 books = _books();
        _settle(receipt);
        assertEq(_books(), books, "a nonce is spent once");
        assertEq(vault.escrow(address(road)), before, "whoever spent it");
    }

    function _indexOf(address operator) private pure returns (uint256 i) {
        while (_operator(i) != operator) ++i;
    }
}

/// @notice What holds whatever anybody does.
contract RoadInvariantTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    RoadHandler private _handler;

    function setUp() public {
        _handler = new RoadHandler();
    }

    /// @dev Run by forge at the end of each life.
    function afterInvariant() public {
        _handler.endAll();
        _handler.assertHeld();
    }

    /// @dev Read by forge: whom it calls.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev Read by forge: what it does not call.
    function excludeSelectors() public view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](2));
        excluded[0].selectors[0] = MarketFixture.setUp.selector;
        excluded[0].selectors[1] = RoadHandler.endAll.selector;
    }

    function invariant_held() public view {
        _handler.assertSolvent();
        _handler.assertSeats();
        _handler.assertHeld();
    }
}
