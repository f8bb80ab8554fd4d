// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order} from "../types/Orders.sol";
import {TypedData} from "./TypedData.sol";

/// @notice One replica's opened vote on the desk.
/// @dev The first five members are what a commitment hashes, in its order. Members are read in assembly at the places
/// that stand beside them: never reorder them.
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

/// @notice The place in memory where one receipt at a time is opened and judged, whatever form it came in.
/// @dev It is made once for a batch, so that memory does not cost the square of the receipts, and what is hashed lies
/// as it is encoded, so that hashing it copies nothing:
/// | from | holds |
/// |---|---|
/// | 0x000 | how many votes there are |
/// | 0x020 | where the requester stands among those that sign once for the whole batch |
/// | 0x040 | where the seed stands among those of the batch |
/// | 0x060 | the order's signature (EIP-2098): r, vs |
/// | 0x0a0 | typehash of Order, and the order |
/// | 0x2c0 | typehash of Reveal, and a reveal: job, commits, tag, rate, secs |
/// | 0x380 | 0x1901, the domain separator (from 0x382), a struct hash (from 0x3a2) |
/// | 0x3e0 | 8 commitments |
/// | 0x4e0 | 8 votes to be tallied, as an array |
/// | 0x600 | what ecrecover reads: digest, v, r, s |
/// | 0x680 | 8 Votes |
type Desk is uint256;

using {order, count, voteAt, payer, commits} for Desk global;

uint256 constant DESK_BYTES = 0x1180;

function newDesk(bytes32 domain) pure returns (Desk desk) {
    (bytes32 orderTypehash, bytes32 revealTypehash) = (TypedData.ORDER_TYPEHASH, TypedData.REVEAL_TYPEHASH);
    assembly ("memory-safe") {
        desk := mload(0x40)
        mstore(0x40, add(desk, DESK_BYTES))
        calldatacopy(desk, calldatasize(), DESK_BYTES) // zeros
        mstore(add(desk, 0xa0), orderTypehash)
        mstore(add(desk, 0x2c0), revealTypehash)
        mstore(add(desk, 0x380), hex"1901")
        mstore(add(desk, 0x382), domain)
    }
}

function order(Desk desk) pure returns (Order memory order_) {
    assembly ("memory-safe") {
        order_ := add(desk, 0xc0)
    }
}

function count(Desk desk) pure returns (uint256 votes) {
    assembly ("memory-safe") {
        votes := mload(desk)
    }
}

function voteAt(Desk desk, uint256 i) pure returns (Vote memory vote) {
    assembly ("memory-safe") {
        vote := add(add(desk, 0x680), mul(i, 0x160))
    }
}

function payer(Desk desk) pure returns (uint256 place) {
    assembly ("memory-safe") {
        place := mload(add(desk, 0x20))
    }
}

function commits(Desk desk) pure returns (bytes32 hash) {
    assembly ("memory-safe") {
        hash := mload(add(desk, 0x300))
    }
}
