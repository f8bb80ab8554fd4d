// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";

/// @notice A value of 160 bits, and what it was at the end of every earlier block.
/// @dev The newest value is in a slot of its own beside the block it is from: a draw reads one slot for each seat
/// that has not changed since, where OpenZeppelin's trace alone takes two. An untouched history is all zero.
library History {
    using Checkpoints for Checkpoints.Trace160;

    struct Values {
        uint160 newest;
        uint96 since;
        Checkpoints.Trace160 older;
    }

    /// @notice Sets the value from this block on.
    function push(Values storage values, uint160 value) internal {
        (uint160 newest, uint96 since) = (values.newest, values.since);
        uint96 now_ = uint96(block.number);
        // What stands at the end of a block counts. Before the first value all is zero, which needs no entry.
        if (since != now_ && since != 0) values.older.push(since, newest);
        values.newest = value;
        values.since = now_;
    }

    /// @notice The value now.
    function latest(Values storage values) internal view returns (uint160) {
        return values.newest;
    }

    /// @notice The value at the end of a block.
    function valueAt(Values storage values, uint256 number) internal view returns (uint160) {
        uint256 word;
        assembly ("memory-safe") {
            word := sload(values.slot) // both members in one read
        }
        // Truncation is the extraction; a smaller number than `since` fits 96 bits.
        // forge-lint: disable-next-line(unsafe-typecast)
        if (word >> 160 <= number) return uint160(word);
        // forge-lint: disable-next-line(unsafe-typecast)
        return values.older.upperLookupRecent(uint96(number));
    }
}
