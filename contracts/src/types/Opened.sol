// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order} from "./Orders.sol";

/// @notice One replica's opened vote in memory, whatever form its receipt came in.
/// @dev The first five members are what a commitment hashes, in its order: never reorder them.
struct Vote {
    bytes32 job;
    address operator;
    bytes32 tag;
    uint256 secs;
    bytes32 salt;
    uint256 rate;
    uint256 ticket;
    /// Where the operator stands among the operators of the batch.
    uint256 place;
    /// The reveal's signature (EIP-2098); zeros where the operator signs once for the whole batch.
    bytes32 r;
    bytes32 vs;
    /// Where the key that signed stands among the keys of the batch.
    uint256 key;
}

/// @notice One receipt in memory, whatever form it came in.
/// @dev Made once for a batch and filled anew for each receipt, so that memory does not cost the square of them.
struct Opened {
    /// The word before it in memory is free for the typehash.
    Order order;
    /// The requester's signature (EIP-2098); zeros where it signs once for the whole batch.
    bytes32 r;
    bytes32 vs;
    /// Where the requester stands among those that sign once for the whole batch.
    uint256 payer;
    /// Where the seed stands among those of the batch.
    uint256 seed;
    /// How many of `votes` are this receipt's.
    uint256 count;
    Vote[] votes;
}
