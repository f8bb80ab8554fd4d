// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Account} from "../../src/types/Accounts.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {PayoutModel} from "../utils/PayoutModel.sol";

/// @notice Random jobs against the model of who is paid and slashed how much.
contract SettleFuzzTest is MarketFixture {
    struct Terms {
        uint8 replicas;
        uint8 quorum;
        uint64 fee;
        uint64 maxRate;
        uint32 maxSeconds;
        uint64 bond;
        uint64 budget;
    }

    /// @param votes For each replica a byte: which of a few answers it gives.
    /// @param meters For each replica 32 bits of seconds.
    /// @param rates For each replica 32 bits, for its part of the highest rate.
    function testFuzz_settle(Terms memory terms, uint256 votes, uint256 meters, uint256 rates) public {
        Receipt memory receipt = _receipt(_orderOf(terms), votes, meters, rates);
        uint256 k = receipt.replicas.length;
        Account[] memory before = new Account[](k);
        uint256[] memory stakes = new uint256[](k);
        for (uint256 i = 0; i < k; ++i) {
            before[i] = _account(receipt.replicas[i].operator);
            stakes[i] = before[i].bond;
        }
        PayoutModel.Outcome memory model = PayoutModel.expected(receipt, stakes);
        _leaveBudget(bound(terms.budget, 0, BUDGET));
        uint256 budget = _budget(0);
        if (model.cost > budget) {
            _assertSkipped(receipt, IMarket.Market_BudgetTooSmall.selector);
            return;
        }
        uint256 schedulerBefore = _free(scheduler);
        _assertSettles(receipt);

        uint256 slashed = 0;
        for (uint256 i = 0; i < k; ++i) {
            Account memory books = _account(receipt.replicas[i].operator);
            assertEq(books.free - before[i].free, model.paid[i], "paid");
            assertEq(before[i].bond - books.bond, model.slashed[i], "slashed");
            slashed += model.slashed[i];
        }
        assertEq(_free(scheduler) - schedulerBefore, model.fee, "fee");
        assertEq(_slashed(), slashed, "taken");
        assertEq(budget - _budget(0), model.cost, "cost");
        _assertSolvent();
        _assertSkipped(receipt, IMarket.Market_NonceSpent.selector);
    }

    function _orderOf(Terms memory terms) private view returns (Order memory order) {
        order = _order(0, 1);
        order.replicas = uint8(bound(terms.replicas, 1, 8));
        order.quorum = uint8(bound(terms.quorum, order.replicas / 2 + 1, order.replicas));
        order.fee = uint64(bound(terms.fee, 0, 1000e6));
        order.maxRate = uint64(bound(terms.maxRate, 0, 100_000));
        order.maxSeconds = uint32(bound(terms.maxSeconds, 0, 2 days));
        order.bond = uint64(bound(terms.bond, 0, 3 * SEAT));
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

    /// @dev Spends requester 0's budget down to `amount`, by settling.
    function _leaveBudget(uint256 amount) private {
        Order memory order = _order(0, 2);
        (order.replicas, order.quorum) = (1, 1);
        Receipt memory receipt = _draft(order);
        receipt.replicas[0].rate = 0;
        receipt.order.fee = BUDGET - uint64(amount);
        _assertSettles(_reseal(receipt));
    }

    /// @dev Another fee is another job, with another draw.
    function _reseal(Receipt memory receipt) private view returns (Receipt memory again) {
        again = _draft(receipt.order);
        again.replicas[0].rate = 0;
        return _seal(again);
    }
}
