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
        uint256 tag = votes[first] >> SECONDS_BITS;
        for (uint256 i = first; i < votes.length; ++i) {
            if (votes[i] >> SECONDS_BITS == tag) {
                group |= 2 ** i;
                ++size;
            }
        }
    }

    /// @dev Insertion sort: at most 8 values. The lower of two middles, so that half must lie to raise it.
    function _lowerMedian(uint256[] memory votes, uint256 group, uint256 size)
        private
        pure
        returns (uint256)
    {
        uint256[] memory sorted = new uint256[](size);
        uint256 length = 0;
        for (uint256 i = 0; i < votes.length; ++i) {
            if (group >> i & 1 == 0) continue;
            uint256 secs = secondsOf(votes[i]);
            uint256 place = length++;
            while (place != 0 && sorted[place - 1] > secs) {
                sorted[place] = sorted[place - 1];
                --place;
            }
            sorted[place] = secs;
        }
        return sorted[(size - 1) / 2];
    }
}
