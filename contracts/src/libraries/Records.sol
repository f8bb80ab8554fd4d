// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Share} from "../types/Share.sol";

/// @notice What one settled job does to the books, as words that follow each other.
/// @dev | word | holds |
///      |---|---|
///      | 0 | the job |
///      | 1 | the requester |
///      | 2 | the order's nonce |
///      | 3 | the winners' vote: 28 bytes of tag, 4 bytes of seconds; zero without a quorum |
///      | 4 | where the shares start in the data of the job's event: 0x40, or 0x20 without a quorum |
///      | 5 | how many shares follow |
///      | 6 | a share for each replica, by ticket, and then the scheduler's fee |
/// Market writes each word once: the Vault reads a record, and its words from 3 or 4 on are the data of the job's
/// event. The functions read a record that starts at a place in the call data; `end` is where the next one starts.
library Records {
    uint256 internal constant WORD = 0x20;
    uint256 internal constant HEAD_WORDS = 6;
    /// @dev The word of the head that says how many shares follow.
    uint256 internal constant COUNT_AT = 5;

    function endOf(uint256 record) internal pure returns (uint256 end) {
        assembly ("memory-safe") {
            end := add(add(record, 0xc0), shl(5, calldataload(add(record, 0xa0))))
        }
    }

    function requesterOf(uint256 record) internal pure returns (address requester) {
        assembly ("memory-safe") {
            requester := calldataload(add(record, 0x20))
        }
    }

    function nonceOf(uint256 record) internal pure returns (uint256 nonce) {
        assembly ("memory-safe") {
            nonce := calldataload(add(record, 0x40))
        }
    }

    function sharesOf(uint256 record) internal pure returns (uint256 first) {
        return record + HEAD_WORDS * WORD;
    }

    function shareAt(uint256 position) internal pure returns (Share share) {
        assembly ("memory-safe") {
            share := calldataload(position)
        }
    }

    /// @dev The last share's.
    function schedulerOf(uint256 end) internal pure returns (address) {
        return shareAt(end - WORD).operatorOf();
    }

    function feeOf(uint256 end) internal pure returns (uint256) {
        return shareAt(end - WORD).amountOf();
    }

    /// @notice All that leaves the requester's budget: every share that is not slashed.
    function costOf(uint256 record, uint256 end) internal pure returns (uint256 cost) {
        assembly ("memory-safe") {
            for { let n := add(record, 0xc0) } lt(n, end) { n := add(n, 0x20) } {
                let share := calldataload(n)
                let slashed := eq(and(shr(224, share), 0xff), 2) // ShareKind.Slashed
                cost := add(cost, mul(and(shr(160, share), 0xffffffffffffffff), iszero(slashed)))
            }
        }
    }

    /// @notice Adds the replicas' payments to their operators' lines; says whether there are slashes too, which depend
    /// on the stakes.
    /// @param lines In pairs, by the operators' places: the operator, and its Sums.
    function addUp(uint256 record, uint256 end, uint256[] memory lines)
        internal
        pure
        returns (bool slashing)
    {
        assembly ("memory-safe") {
            let last := sub(end, 0x20) // the fee
            for { let n := add(record, 0xc0) } lt(n, last) { n := add(n, 0x20) } {
                let share := calldataload(n)
                let kind := and(shr(224, share), 0xff)
                if eq(kind, 2) {
                    slashing := 1
                    continue
                }
                let place := shl(1, shr(232, share))
                if iszero(lt(place, mload(lines))) { invalid() } // Market counts its operators
                let line := add(add(lines, 0x20), shl(5, place))
                mstore(line, and(share, 0xffffffffffffffffffffffffffffffffffffffff))
                // The amount, and one: ShareKind.Won counts from bit 128 on, Effort from 160 on.
                let one := shl(add(128, shl(5, kind)), 1)
                line := add(line, 0x20)
                mstore(line, add(mload(line), or(and(shr(160, share), 0xffffffffffffffff), one)))
            }
        }
    }
}
