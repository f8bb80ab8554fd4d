// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The verdict on k opened votes.
/// @dev Pure, and the same as `tally` in `node/assay_node/protocol/receipt.py`. A vote is one word: the tag's first
/// 28 bytes, then 4 bytes of seconds.
library Tally {
    uint256 private constant SECONDS_BITS = 32;

    function toVote(bytes32 tag, uint32 secs) internal pure returns (uint256) {
        return uint256(tag) >> SECONDS_BITS << SECONDS_BITS | secs;
    }

    function secondsOf(uint256 vote) internal pure returns (uint256) {
        return vote & type(uint32).max;
    }

    /// @notice The replicas that agree, one bit each, and the seconds they are paid; no bits without a quorum.
    /// @dev At most one group can reach a quorum, which is more than half.
    function count(uint256[] memory votes, uint256 quorum, uint256 maxSeconds)
        internal
        pure
        returns (uint256 winners, uint256 secs)
    {
        // A group whose first vote comes later than this has fewer members than a quorum.
        for (uint256 first = 0; first + quorum <= votes.length; ++first) {
            uint256 size;
            (winners, size) = _agreeing(votes, first);
            if (size >= quorum) {
                secs = _lowerMedian(votes, winners, size);
                return (winners, secs < maxSeconds ? secs : maxSeconds);
            }
        }
        return (0, 0);
    }

    /// @dev In assembly, like the median: every receipt comes by here, and the compiler's bounds checks cost more than
    /// the comparisons.
    function _agreeing(uint256[] memory votes, uint256 first)
        private
        pure
        returns (uint256 group, uint256 size)
    {
        assembly ("memory-safe") {
            let place := add(add(votes, 0x20), shl(5, first))
            let tag := shr(SECONDS_BITS, mload(place))
            for { let i := first } lt(i, mload(votes)) { i := add(i, 1) } {
                let same := eq(shr(SECONDS_BITS, mload(place)), tag)
                group := or(group, shl(i, same))
                size := add(size, same)
                place := add(place, 0x20)
            }
        }
    }

    /// @dev The lower of two middles, so that half must lie to raise it: the value of the group that has
    /// (size - 1) / 2 others before it, which are lower, or equal and earlier. At most 8 values, whose numbers of
    /// others before them are counted in a byte each.
    function _lowerMedian(uint256[] memory votes, uint256 group, uint256 size)
        private
        pure
        returns (uint256 secs)
    {
        assembly ("memory-safe") {
            let first := add(votes, 0x20)
            let end := add(first, shl(5, mload(votes)))
            let before := 0
            let one := 0x100 // the byte of `later`
            let bits := shr(1, group)
            for { let later := add(first, 0x20) } lt(later, end) { later := add(later, 0x20) } {
                let value := and(mload(later), 0xffffffff)
                let other := 1 // the byte of `earlier`
                let earlierBits := group
                for { let earlier := first } lt(earlier, later) { earlier := add(earlier, 0x20) } {
                    let lower := lt(value, and(mload(earlier), 0xffffffff))
                    // Whichever comes second has one more of the group before it.
                    switch lower
                    case 0 { before := add(before, mul(one, and(earlierBits, 1))) }
                    default { before := add(before, mul(other, and(bits, 1))) }
                    other := shl(8, other)
                    earlierBits := shr(1, earlierBits)
                }
                one := shl(8, one)
                bits := shr(1, bits)
            }
            let middle := shr(1, sub(size, 1))
            for {} 1 {} {
                if and(and(group, 1), eq(and(before, 0xff), middle)) { break }
                before := shr(8, before)
                group := shr(1, group)
                first := add(first, 0x20)
            }
            secs := and(mload(first), 0xffffffff)
        }
    }
}
