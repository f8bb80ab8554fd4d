// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order} from "./Orders.sol";

/// @notice One replica's opened vote in memory, whatever form its receipt came in.
/// @dev The first five members are what a commitment hashes, in its order. Packed and Judge know where each member
/// lies: never reorder them.
struct Vote {
    bytes32 job; // 0x00
    address operator; // 0x20
    bytes32 tag; // 0x40
    uint256 secs; // 0x60
    bytes32 salt; // 0x80
    uint256 rate; // 0xa0
    uint256 ticket; // 0xc0
    /// Where the operator stands among the operators of the batch.
    uint256 place; // 0xe0
    /// The reveal's signature (EIP-2098); of no meaning where the operator signs once for the whole batch.
    bytes32 r; // 0x100
    bytes32 vs; // 0x120
    /// Where the key that signed stands among the keys of the batch.
    uint256 key; // 0x140
}

/// @notice One receipt in memory, whatever form it came in.
/// @dev Made once for a batch and filled anew for each receipt, so that memory does not cost the square of them.
struct Opened {
    Order order; // 0x00
    /// The requester's signature (EIP-2098); of no meaning where it signs once for the whole batch.
    bytes32 r; // 0x20
    bytes32 vs; // 0x40
    /// Where the requester stands among those that sign once for the whole batch.
    uint256 payer; // 0x60
    /// Where the seed stands among those of the batch.
    uint256 seed; // 0x80
    /// How many of `votes` are this receipt's.
    uint256 count; // 0xa0
    Vote[] votes; // 0xc0
}
