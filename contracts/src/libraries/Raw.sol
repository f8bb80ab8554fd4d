// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Words of memory and call data by their positions.
/// @dev A batch reads and writes thousands of words. The compiler's own accesses (offsets, bounds, zeroed structs) cost
/// two to four times as much, so the code that every replica comes by works on positions, through these alone. Callers
/// answer for it that a position lies in memory that they allocated; the call data reads as zero past its end.
library Raw {
    uint256 internal constant WORD = 0x20;

    function load(uint256 cursor) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(cursor)
        }
    }

    function store(uint256 cursor, uint256 word) internal pure {
        assembly ("memory-safe") {
            mstore(cursor, word)
        }
    }

    function hash(uint256 cursor, uint256 size) internal pure returns (uint256 digest) {
        assembly ("memory-safe") {
            digest := keccak256(cursor, size)
        }
    }

    /// @notice New memory, which is not zeroed: it must be written before it is read.
    function allocate(uint256 size) internal pure returns (uint256 cursor) {
        assembly ("memory-safe") {
            cursor := mload(0x40)
            mstore(0x40, add(cursor, size))
        }
    }

    /// @notice One word of the call data.
    function given(uint256 cursor) internal pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(cursor)
        }
    }
}
