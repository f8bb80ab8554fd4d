// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tally} from "../../src/libraries/Tally.sol";

/// @notice The tally for all tags, meters and caps there are; run by halmos (`make prove`).
/// @dev Stated by counting, as a person would check a vote, where Tally groups and sorts.
contract TallySymbolic {
    function check_tally_1(bytes32[1] memory tags, uint32[1] memory secs, uint32 cap) public pure {
        _check(_votes1(tags, secs), 1, cap);
    }

    function check_tally_2of3(bytes32[3] memory tags, uint32[3] memory secs, uint32 cap) public pure {
        _check(_votes3(tags, secs), 2, cap);
    }

    function check_tally_3of3(bytes32[3] memory tags, uint32[3] memory secs, uint32 cap) public pure {
        _check(_votes3(tags, secs), 3, cap);
    }

    function check_tally_3of4(bytes32[4] memory tags, uint32[4] memory secs, uint32 cap) public pure {
        _check(_votes4(tags, secs), 3, cap);
    }

    /// @dev The first 28 bytes of a tag are what is voted on, and the seconds are kept whole.
    function check_vote(bytes32 tag, uint32 secs, bytes32 otherTag, uint32 otherSecs) public pure {
        uint256 vote = Tally.toVote(tag, secs);
        assert(uint32(vote) == secs); // truncation is the extraction
        bool same = vote >> 32 == Tally.toVote(otherTag, otherSecs) >> 32;
        assert(same == (bytes28(tag) == bytes28(otherTag)));
    }

    function _check(uint256[] memory votes, uint256 quorum, uint32 cap) private pure {
        (uint256 winners, uint256 secs) = Tally.count(votes, quorum, cap);
        assert(winners >> votes.length == 0);
        _checkWinners(votes, quorum, winners);
        if (winners == 0) assert(secs == 0);
        else _checkSeconds(votes, winners, secs, cap);
    }

    /// @dev A replica wins if and only if a quorum said what it said, and all who win said the same.
    function _checkWinners(uint256[] memory votes, uint256 quorum, uint256 winners) private pure {
        for (uint256 i = 0; i < votes.length; ++i) {
            uint256 same = 0;
            for (uint256 n = 0; n < votes.length; ++n) {
                bool equal = votes[i] >> 32 == votes[n] >> 32;
                if (equal) ++same;
                assert(!(_isIn(winners, i) && _isIn(winners, n)) || equal);
            }
            assert(_isIn(winners, i) == (same >= quorum));
        }
    }

    /// @dev Fewer than half of the winners' meters show less, at least half show that or less: the lower median.
    function _checkSeconds(uint256[] memory votes, uint256 winners, uint256 secs, uint256 cap) private pure {
        assert(secs <= cap);
        (uint256 all, uint256 below, uint256 upTo, uint256 exactly) = (0, 0, 0, 0);
        for (uint256 i = 0; i < votes.length; ++i) {
            if (!_isIn(winners, i)) continue;
            uint256 meter = uint32(votes[i]);
            ++all;
            if (meter < secs) ++below;
            if (meter <= secs) ++upTo;
            if (meter == secs) ++exactly;
        }
        assert(2 * below < all);
        assert(secs == cap || (2 * upTo >= all && exactly != 0));
    }

    function _isIn(uint256 group, uint256 i) private pure returns (bool) {
        return group >> i & 1 == 1;
    }

    function _votes1(bytes32[1] memory tags, uint32[1] memory secs)
        private
        pure
        returns (uint256[] memory votes)
    {
        votes = new uint256[](1);
        votes[0] = Tally.toVote(tags[0], secs[0]);
    }

    function _votes3(bytes32[3] memory tags, uint32[3] memory secs)
        private
        pure
        returns (uint256[] memory votes)
    {
        votes = new uint256[](3);
        for (uint256 i = 0; i < 3; ++i) {
            votes[i] = Tally.toVote(tags[i], secs[i]);
        }
    }

    function _votes4(bytes32[4] memory tags, uint32[4] memory secs)
        private
        pure
        returns (uint256[] memory votes)
    {
        votes = new uint256[](4);
        for (uint256 i = 0; i < 4; ++i) {
            votes[i] = Tally.toVote(tags[i], secs[i]);
        }
    }
}
