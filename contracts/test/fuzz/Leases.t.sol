// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LeaseStatus, Terms} from "../../src/types/ServiceLeases.sol";
import {LeaseModel} from "../utils/LeaseModel.sol";
import {LeasesFixture} from "../utils/LeasesFixture.sol";

/// @notice Random lives of a lease against a purse that pays for one second at a time.
contract LeasesFuzzTest is LeasesFixture {
    using LeaseModel for LeaseModel.Purse;

    uint256 private constant STEPS = 12;

    struct Choice {
        uint48 rate;
        uint48 feeRate;
        uint64 escrow;
        uint32 notice;
    }

    /// @param acts For each step a byte: what is done.
    /// @param sizes For each step a byte: for how long time passes, or how much is added.
    function testFuzz_life(Choice memory choice, uint256 acts, uint256 sizes) public {
        Terms memory terms = _termsOf(choice);
        LeaseModel.Purse memory purse;
        (purse.rate, purse.feeRate, purse.inside) = (terms.rate, terms.feeRate, terms.escrow);
        purse.requester = _free(_requester(0)) - terms.escrow;
        bytes32 lease = _start(terms);
        purse.endIfNeeded();
        for (uint256 step = 0; step < STEPS; ++step) {
            _act(lease, terms, purse, acts >> 8 * step & 0xff, sizes >> 8 * step & 0xff);
        }
        if (_status(lease) == LeaseStatus.Open) leases.settle(lease);
        assertEq(_free(_operator(0)), purse.operator, "operator");
        assertEq(_free(SCHEDULER), purse.scheduler, "scheduler");
        assertEq(_free(_requester(0)), purse.requester, "requester");
        assertEq(vault.escrow(address(leases)), purse.inside, "escrow");
        assertTrue((_status(lease) == LeaseStatus.Ended) == purse.over, "over");
        _assertSolvent();
    }

    /// @dev Whatever the numbers: nobody is paid for more than the time there was or the money there was.
    function testFuzz_bounds(Choice memory choice, uint64 wealth, uint48 elapsed) public {
        _deposit(_requester(0), uint64(bound(wealth, 0, type(uint64).max - vault.total())));
        Terms memory terms = _terms();
        terms.rate = uint48(bound(choice.rate, 1, type(uint48).max));
        terms.feeRate = choice.feeRate;
        uint256 price = uint256(terms.rate) + terms.feeRate;
        uint256 free = _free(_requester(0));
        terms.notice = uint32(bound(choice.notice, 0, free / price < 1 days ? free / price : 1 days));
        terms.escrow = uint64(bound(choice.escrow, terms.notice * price, free));
        bytes32 lease = _start(terms);
        uint256 started = time;
        _pass(bound(elapsed, 0, type(uint48).max - time - 2 days));
        leases.settle(lease);
        uint256 paidSeconds = _free(_operator(0)) / terms.rate;
        assertEq(paidSeconds * terms.rate, _free(_operator(0)), "whole seconds");
        assertEq(paidSeconds * terms.feeRate, _free(SCHEDULER), "the scheduler's the same");
        assertTrue(paidSeconds <= time - started, "no second before its time");
        assertTrue(paidSeconds * price <= terms.escrow, "nothing that was not there");
        if (_status(lease) == LeaseStatus.Open) {
            assertEq(paidSeconds, time - started, "every second there was");
        } else {
            assertTrue(terms.escrow - paidSeconds * price < price, "not a second too few");
        }
        _assertSolvent();
    }

    function _act(bytes32 lease, Terms memory terms, LeaseModel.Purse memory purse, uint256 act, uint256 size)
        private
    {
        if (act & 1 == 0) {
            _pass(size / 4);
            purse.pass(size / 4);
            return;
        }
        if (_status(lease) == LeaseStatus.Ended) return;
        act = act >> 1 & 15;
        if (purse.over || act < 6) {
            leases.settle(lease);
        } else if (act < 11) {
            uint64 amount = uint64(size * (purse.rate + 1) / 3);
            if (amount > _free(_requester(0))) return;
            _topUp(_requester(0), lease, amount);
            purse.topUp(amount);
            purse.requester -= amount;
        } else if (act < 15) {
            if (!purse.stopping) _stop(_requester(0), lease);
            purse.giveNotice(terms.notice);
        } else {
            _stop(_operator(0), lease);
            purse.walkOut();
        }
    }

    function _termsOf(Choice memory choice) private view returns (Terms memory terms) {
        terms = _terms();
        terms.rate = uint48(bound(choice.rate, 1, 1e6));
        terms.feeRate = uint48(bound(choice.feeRate, 0, 1e5));
        terms.notice = uint32(bound(choice.notice, 0, 200));
        uint256 price = uint256(terms.rate) + terms.feeRate;
        // Half of them end by stopping, half by running out.
        terms.escrow = uint64(bound(choice.escrow, terms.notice * price, (terms.notice + 300) * price));
    }
}
