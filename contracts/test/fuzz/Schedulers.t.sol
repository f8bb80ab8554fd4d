// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISchedulers} from "../../src/interfaces/ISchedulers.sol";
import {Assign} from "../../src/types/Assignments.sol";
import {SchedulersFixture} from "../utils/SchedulersFixture.sol";

/// @notice A scheduler that replaces openly is never slashable, whatever it lives through; one that hides somebody is.
contract SchedulersFuzzTest is SchedulersFixture {
    uint256 private constant STEPS = 6;

    /// @dev `seed` decides which replica is lost at each step. Every pair of what was signed is brought as every
    /// offence, with everybody as the omitted.
    function testFuzz_honest(uint256 seed) public {
        Assign[] memory row = _honestRow(seed);
        for (uint256 i = 0; i < STEPS; ++i) {
            for (uint256 n = 0; n < STEPS; ++n) {
                _assertRefused(row[i], row[n], address(0), i == n);
                _assertRefused(row[i], row[n], _operator(bound(seed >> i, 0, OPERATORS - 1)), false);
            }
        }
        assertEq(_bonded(scheduler), STAKED, "nothing was taken");
    }

    /// @dev From step `hiddenAt` on the row keeps silent on somebody whom it named before.
    function testFuzz_hidden(uint256 seed, uint256 hiddenAt, uint256 earlierAt) public {
        Assign[] memory row = _honestRow(seed);
        hiddenAt = bound(hiddenAt, 1, STEPS - 1);
        earlierAt = bound(earlierAt, 0, hiddenAt - 1);
        Assign memory later = row[hiddenAt];
        // The one replaced in the step after `earlierAt` was there, and is said to be gone in all that follow.
        address hidden = later.replaced[earlierAt];
        later.replaced[earlierAt] = address(0);
        _slashOmission(row[earlierAt], later, hidden);
        assertEq(_bonded(scheduler), 0, "all of it");
        _assertSolvent();
    }

    /// @dev Three replicas; each step one of them is lost and the next operator drawn takes its place.
    function _honestRow(uint256 seed) private pure returns (Assign[] memory row) {
        row = new Assign[](STEPS);
        row[0] = _assign(0, 0);
        for (uint256 step = 1; step < STEPS; ++step) {
            Assign memory last = row[step - 1];
            Assign memory next = _assign(uint32(step), 0);
            uint256 lost = (seed >> (8 * step)) % 3;
            next.round = uint32(step / 3);
            next.replaced = new address[](step);
            for (uint256 i = 0; i < step - 1; ++i) {
                next.replaced[i] = last.replaced[i];
            }
            next.replaced[step - 1] = last.operators[lost];
            for (uint256 i = 0; i < 3; ++i) {
                next.operators[i] = i == lost ? _operator(2 + step) : last.operators[i];
            }
            row[step] = next;
        }
    }

    function _assertRefused(Assign memory first, Assign memory second, address omitted, bool same) private {
        bytes memory firstSig = _signed(SCHEDULER_KEY, first);
        bytes memory secondSig = _signed(SCHEDULER_KEY, second);
        expectRevert(ISchedulers.Schedulers_NoOffence.selector);
        schedulers.slashFork(first, firstSig, second, secondSig);
        if (same) return;
        // Who came after `first` is not named there, and who was there is named for good.
        expectRevert(ISchedulers.Schedulers_NoOffence.selector);
        schedulers.slashOmission(first, firstSig, second, secondSig, omitted);
    }
}
