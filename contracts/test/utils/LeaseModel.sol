// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One lease as a purse that pays for one second at a time, written another way than Leases.
/// @dev It neither divides nor multiplies: slow, and with nothing to get wrong.
library LeaseModel {
    struct Purse {
        uint256 rate;
        uint256 feeRate;
        uint256 inside;
        uint256 operator;
        uint256 scheduler;
        uint256 requester;
        /// Seconds still to come once the requester stopped.
        uint256 secondsLeft;
        bool stopping;
        bool over;
    }

    /// @notice Lets `secs` seconds go by.
    function pass(Purse memory purse, uint256 secs) internal pure {
        for (uint256 i = 0; i < secs && !purse.over; ++i) {
            purse.inside -= purse.rate + purse.feeRate;
            purse.operator += purse.rate;
            purse.scheduler += purse.feeRate;
            if (purse.stopping) --purse.secondsLeft;
            endIfNeeded(purse);
        }
    }

    function topUp(Purse memory purse, uint256 amount) internal pure {
        purse.inside += amount;
    }

    /// @notice The requester gives notice; a second time it changes nothing.
    function giveNotice(Purse memory purse, uint256 notice) internal pure {
        if (purse.stopping) return;
        (purse.stopping, purse.secondsLeft) = (true, notice);
        endIfNeeded(purse);
    }

    /// @notice The operator leaves.
    function walkOut(Purse memory purse) internal pure {
        (purse.stopping, purse.secondsLeft) = (true, 0);
        endIfNeeded(purse);
    }

    /// @notice A purse that cannot pay for the next second, or need not, goes back to the requester.
    function endIfNeeded(Purse memory purse) internal pure {
        bool dry = purse.inside < purse.rate + purse.feeRate;
        if (!dry && !(purse.stopping && purse.secondsLeft == 0)) return;
        purse.over = true;
        purse.requester += purse.inside;
        purse.inside = 0;
    }
}
