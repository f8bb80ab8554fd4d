// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Raw} from "./Raw.sol";

/// @notice The verdict on k opened votes.
/// @dev Pure, and the same as `tally` in `node/assay_node/protocol/receipt.py`. A vote is one word: the tag's first
/// 28 bytes, then 4 bytes of seconds.
library Tally {
    uint256 private constant SECONDS_BITS = 32;
    uint256 private constant SECONDS_MASK = type(uint32).max;

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

    function _agreeing(uint256[] memory votes, uint256 first)
        private
        pure
        returns (uint256 group, uint256 size)
    {
        unchecked {
            uint256 cursor = _at(votes, first);
            uint256 end = _at(votes, votes.length);
            uint256 tag = Raw.load(cursor) >> SECONDS_BITS;
            for (uint256 bit = uint256(1) << first; cursor != end; bit <<= 1) {
                if (Raw.load(cursor) >> SECONDS_BITS == tag) {
                    group |= bit;
                    ++size;
                }
                cursor += Raw.WORD;
            }
        }
    }

    /// @dev The lower of two middles, so that half must lie to raise it. The seconds of at most 8 votes fit one word,
    /// where each is inserted below those that are larger.
    function _lowerMedian(uint256[] memory votes, uint256 group, uint256 size)
        private
        pure
        returns (uint256)
    {
        unchecked {
            uint256 sorted = 0;
            uint256 filled = 0;
            for (uint256 cursor = _at(votes, 0); group != 0; cursor += Raw.WORD) {
                if (group & 1 == 1) {
                    uint256 secs = Raw.load(cursor) & SECONDS_MASK;
                    uint256 place = 0;
                    while (place < filled && sorted >> place & SECONDS_MASK < secs) place += SECONDS_BITS;
                    uint256 larger = sorted >> place;
                    sorted ^= larger << place;
                    sorted |= (larger << SECONDS_BITS | secs) << place;
                    filled += SECONDS_BITS;
                }
                group >>= 1;
            }
            return sorted >> (size - 1) / 2 * SECONDS_BITS & SECONDS_MASK;
        }
    }

    function _at(uint256[] memory votes, uint256 i) private pure returns (uint256 cursor) {
        assembly ("memory-safe") {
            cursor := add(add(votes, 0x20), shl(5, i))
        }
    }
}
