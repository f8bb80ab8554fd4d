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

    function _agreeing(uint256[] memory votes, uint256 first)
        private
        pure
        returns (uint256 group, uint256 size)
    {
        uint256 tag = _at(votes, first) >> SECONDS_BITS;
        unchecked {
            for (uint256 i = first; i < votes.length; ++i) {
                if (_at(votes, i) >> SECONDS_BITS == tag) {
                    group |= uint256(1) << i;
                    ++size;
                }
            }
        }
    }

    /// @dev The lower of two middles, so that half must lie to raise it: the value that, with those of the group
    /// that are lower (or equal and earlier), has (size - 1) / 2 before it. At most 8 values.
    function _lowerMedian(uint256[] memory votes, uint256 group, uint256 size)
        private
        pure
        returns (uint256 secs)
    {
        unchecked {
            for (uint256 i = 0; i < votes.length; ++i) {
                if (group >> i & 1 == 0) continue;
                secs = secondsOf(_at(votes, i));
                uint256 before = 0;
                for (uint256 n = 0; n < votes.length; ++n) {
                    if (group >> n & 1 == 0) continue;
                    uint256 other = secondsOf(_at(votes, n));
                    if (other < secs || (other == secs && n < i)) ++before;
                }
                if (before == (size - 1) / 2) break;
            }
        }
    }

    /// @dev Callers stay within the length.
    function _at(uint256[] memory votes, uint256 i) private pure returns (uint256 vote) {
        assembly ("memory-safe") {
            vote := mload(add(add(votes, 0x20), shl(5, i)))
        }
    }
}
