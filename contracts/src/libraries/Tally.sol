// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The verdict on k opened votes.
/// @dev Pure, and the same as `tally` in `node/assay_node/protocol/receipt.py`. A vote is one word: the tag's first
/// 28 bytes, then 4 bytes of seconds.
library Tally {
    uint256 private constant SECONDS_BITS = 32;
    uint256 private constant SECONDS_MASK = 0xffffffff;

    function toVote(bytes32 tag, uint256 secs) internal pure returns (uint256) {
        return uint256(tag) >> SECONDS_BITS << SECONDS_BITS | secs;
    }

    /// @notice The replicas that agree, one bit each, and the seconds they are paid; no bits without a quorum.
    /// @dev At most one group can reach a quorum, which is more than half.
    function count(uint256[] memory votes, uint256 quorum, uint256 maxSeconds)
        internal
        pure
        returns (uint256 winners, uint256 secs)
    {
        unchecked {
            uint256 length = votes.length;
            // A group whose first vote comes later than this has fewer members than a quorum.
            for (uint256 first = 0; first + quorum <= length; ++first) {
                uint256 size;
                (winners, size) = _agreeing(votes, first);
                if (size >= quorum) {
                    secs = _lowerMedian(votes, winners, size);
                    return (winners, secs < maxSeconds ? secs : maxSeconds);
                }
            }
            return (0, 0);
        }
    }

    /// @notice The lower median of the seconds of all votes.
    function medianOfAll(uint256[] memory votes) internal pure returns (uint256) {
        unchecked {
            return _lowerMedian(votes, (uint256(1) << votes.length) - 1, votes.length);
        }
    }

    /// @dev In assembly, like the median: every vote comes by here.
    function _agreeing(uint256[] memory votes, uint256 first)
        private
        pure
        returns (uint256 group, uint256 size)
    {
        assembly ("memory-safe") {
            let cursor := add(add(votes, 0x20), shl(5, first))
            let end := add(add(votes, 0x20), shl(5, mload(votes)))
            let tag := shr(SECONDS_BITS, mload(cursor))
            for { let bit := shl(first, 1) } lt(cursor, end) { bit := shl(1, bit) } {
                let same := eq(shr(SECONDS_BITS, mload(cursor)), tag)
                group := or(group, mul(bit, same))
                size := add(size, same)
                cursor := add(cursor, 0x20)
            }
        }
    }

    /// @dev The lower of two middles, so that half must lie to raise it. The seconds of at most 8 votes fit one word,
    /// where each is inserted below those that are larger.
    function _lowerMedian(uint256[] memory votes, uint256 group, uint256 size)
        private
        pure
        returns (uint256 secs)
    {
        // Three of three, the common job, for a tenth of the gas.
        if (group == 7) return _middle(votes);
        assembly ("memory-safe") {
            let sorted := 0
            let filled := 0
            for { let cursor := add(votes, 0x20) } group { cursor := add(cursor, 0x20) } {
                if and(group, 1) {
                    secs := and(mload(cursor), SECONDS_MASK)
                    let place := 0
                    let larger := sorted
                    for {} lt(place, filled) {} {
                        if iszero(lt(and(larger, SECONDS_MASK), secs)) { break }
                        place := add(place, SECONDS_BITS)
                        larger := shr(SECONDS_BITS, larger)
                    }
                    sorted := xor(sorted, shl(place, larger))
                    sorted := or(sorted, shl(place, or(shl(SECONDS_BITS, larger), secs)))
                    filled := add(filled, SECONDS_BITS)
                }
                group := shr(1, group)
            }
            secs := and(shr(mul(shr(1, sub(size, 1)), SECONDS_BITS), sorted), SECONDS_MASK)
        }
    }

    /// @dev The median of the first three.
    function _middle(uint256[] memory votes) private pure returns (uint256 secs) {
        assembly ("memory-safe") {
            let a := and(mload(add(votes, 0x20)), SECONDS_MASK)
            let b := and(mload(add(votes, 0x40)), SECONDS_MASK)
            let c := and(mload(add(votes, 0x60)), SECONDS_MASK)
            let swap := mul(xor(a, b), gt(a, b))
            a := xor(a, swap) // the lower of both
            b := xor(b, swap)
            secs := c
            if lt(c, a) { secs := a }
            if gt(c, b) { secs := b }
        }
    }
}
