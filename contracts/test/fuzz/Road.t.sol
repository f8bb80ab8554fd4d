// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account} from "../../src/types/Accounts.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {PayoutModel} from "../utils/PayoutModel.sol";
import {RoadFixture} from "../utils/RoadFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice Random jobs on the on-chain road against the model of who is paid and slashed how much.
contract RoadFuzzTest is RoadFixture {
    struct Terms {
        uint8 replicas;
        uint8 quorum;
        uint64 fee;
        uint64 maxRate;
        uint32 maxSeconds;
        uint64 bond;
    }

    /// @dev Who does what, one bit per replica.
    struct Conduct {
        uint256 entered;
        uint256 early;
        uint256 revealed;
    }

    /// @param votes For each replica a byte: which of a few answers it gives.
    /// @param meters For each replica 32 bits of seconds.
    /// @param rates For each replica 32 bits, for its part of the highest rate.
    function testFuzz_road(
        Terms memory terms,
        uint256 votes,
        uint256 meters,
        uint256 rates,
        Conduct memory conduct
    ) public {
        Receipt memory receipt = _receipt(_orderOf(terms), votes, meters, rates);
        _bound(conduct, receipt.replicas.length);
        Account[] memory before = _accounts(receipt);
        uint256 schedulerBefore = _free(scheduler);
        _travel(receipt, conduct);
        PayoutModel.Outcome memory model = PayoutModel.onRoad(receipt, conduct.entered, conduct.revealed);

        uint256 slashed = 0;
        Account[] memory books = _accounts(receipt);
        for (uint256 i = 0; i < books.length; ++i) {
            assertEq(books[i].free - before[i].free, model.paid[i], "paid");
            assertEq(before[i].bond - books[i].bond, model.slashed[i], "slashed");
            assertEq(books[i].locked, 0, "let go");
            slashed += model.slashed[i];
        }
        assertEq(_free(scheduler) - schedulerBefore, model.fee, "fee");
        assertEq(_free(TREASURY), slashed, "treasury");
        assertEq(BUDGET - _budget(0), model.cost, "cost");
        assertEq(vault.escrow(address(road)), 0, "nothing stays in escrow");
        _assertSolvent();
    }

    /// @dev A complete receipt ends an open job as it would have ended in Market.
    function testFuzz_settle(
        Terms memory terms,
        uint256 votes,
        uint256 meters,
        uint256 rates,
        uint256 entered
    ) public {
        Receipt memory receipt = _receipt(_orderOf(terms), votes, meters, rates);
        entered = bound(entered, 1, (1 << receipt.replicas.length) - 1);
        uint256[] memory stakes = new uint256[](receipt.replicas.length);
        for (uint256 i = 0; i < stakes.length; ++i) {
            stakes[i] = _account(receipt.replicas[i].operator).bond;
        }
        PayoutModel.Outcome memory model = PayoutModel.expected(receipt, stakes);
        vm.assume(model.agreed);
        Account[] memory before = _accounts(receipt);
        _open(receipt, entered);
        _override(receipt, receipt, entered);
        Account[] memory books = _accounts(receipt);
        for (uint256 i = 0; i < books.length; ++i) {
            assertEq(books[i].free - before[i].free, model.paid[i], "paid");
            assertEq(before[i].bond - books[i].bond, model.slashed[i], "slashed");
            assertEq(books[i].locked, 0, "let go");
        }
        assertEq(BUDGET - _budget(0), model.cost, "cost");
        _assertSolvent();
    }

    function _travel(Receipt memory receipt, Conduct memory conduct) private {
        uint256 all = (1 << receipt.replicas.length) - 1;
        if (conduct.entered == all) {
            _openFixed(receipt);
        } else {
            // One of them opens, the others come by themselves.
            uint256 first = conduct.entered & (~conduct.entered + 1);
            _open(receipt, first);
            if (conduct.entered != first) _commit(receipt, first, conduct.entered ^ first);
            vm.warp(_deadlineOf(receipt) + 1);
        }
        uint256 early = conduct.revealed & conduct.early;
        if (early != 0) _reveal(receipt, conduct.entered, early);
        if (conduct.revealed != early) _reveal(receipt, conduct.entered, conduct.revealed);
        if (conduct.revealed != conduct.entered) _pass(ROAD_WINDOW + 1);
        _finalize(receipt, conduct.entered, conduct.revealed);
    }

    function _bound(Conduct memory conduct, uint256 replicas) private pure {
        conduct.entered = bound(conduct.entered, 1, (1 << replicas) - 1);
        // Half of the jobs have everybody; most of those who promised speak.
        if (conduct.early & 1 == 1) conduct.entered = (1 << replicas) - 1;
        conduct.revealed = (conduct.revealed | conduct.revealed >> 8) & conduct.entered;
    }

    function _accounts(Receipt memory receipt) private view returns (Account[] memory accounts) {
        accounts = new Account[](receipt.replicas.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            accounts[i] = _account(receipt.replicas[i].operator);
        }
    }

    function _orderOf(Terms memory terms) private view returns (Order memory order) {
        order = _order(0, 1);
        order.replicas = uint8(bound(terms.replicas, 1, 8));
        order.quorum = uint8(bound(terms.quorum, order.replicas / 2 + 1, order.replicas));
        order.fee = uint64(bound(terms.fee, 0, 1000e6));
        order.maxRate = uint64(bound(terms.maxRate, 0, 100_000));
        order.maxSeconds = uint32(bound(terms.maxSeconds, 0, 2 days));
        order.bond = uint64(bound(terms.bond, 0, SEATS_EACH * SEAT));
        order.maxTicket = 100;
    }

    function _receipt(Order memory order, uint256 votes, uint256 meters, uint256 rates)
        private
        view
        returns (Receipt memory receipt)
    {
        receipt = _draft(order);
        bytes32 job = market.jobId(order);
        for (uint256 i = 0; i < order.replicas; ++i) {
            Replica memory replica = receipt.replicas[i];
            // Most agree: two answers of eight are lies.
            uint256 vote = votes >> 8 * i & 7;
            replica.tag = _answer(job, vote < 6 ? 0 : vote);
            replica.secs = uint32(meters >> 32 * i);
            // Half of the meters near the cap, where it matters.
            if (meters >> 32 * i & 1 == 0) {
                replica.secs = uint32(replica.secs % (2 * uint256(order.maxSeconds) + 1));
            }
            replica.rate = uint64((rates >> 32 * i & 0xffffffff) * order.maxRate / 0xffffffff);
        }
        return _seal(receipt);
    }
}
