// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A list of words that is filled once, from its start.
/// @dev Pushing here costs a third of what writing to an array by a counted index costs, and a batch of receipts
/// pushes thousands of words.
struct Words {
    /// The words with room for all of them; its length is right once the list is taken.
    uint256[] items;
    /// Where in memory the next word goes.
    uint256 end;
    /// Where no word goes any more.
    uint256 limit;
}

using {push, isFull, count, get, set, rewind, take, takeBytes32, takeAddresses} for Words global;

/// @notice An empty list with room for `capacity` words.
function newWords(uint256 capacity) pure returns (Words memory words) {
    uint256[] memory items = new uint256[](capacity);
    words.items = items;
    assembly ("memory-safe") {
        let start := add(items, 0x20)
        mstore(add(words, 0x20), start)
        mstore(add(words, 0x40), add(start, shl(5, capacity)))
    }
}

/// @dev More words than there is room for are an error of ours, so it stops everything.
function push(Words memory words, uint256 word) pure {
    assembly ("memory-safe") {
        let end := mload(add(words, 0x20))
        if eq(end, mload(add(words, 0x40))) { invalid() }
        mstore(end, word)
        mstore(add(words, 0x20), add(end, 0x20))
    }
}

function isFull(Words memory words) pure returns (bool) {
    return words.end == words.limit;
}

function count(Words memory words) pure returns (uint256 length) {
    assembly ("memory-safe") {
        length := shr(5, sub(sub(mload(add(words, 0x20)), mload(words)), 0x20))
    }
}

function get(Words memory words, uint256 i) pure returns (uint256 word) {
    assembly ("memory-safe") {
        let place := add(add(mload(words), 0x20), shl(5, i))
        if iszero(lt(place, mload(add(words, 0x20)))) { invalid() }
        word := mload(place)
    }
}

function set(Words memory words, uint256 i, uint256 word) pure {
    assembly ("memory-safe") {
        let place := add(add(mload(words), 0x20), shl(5, i))
        if iszero(lt(place, mload(add(words, 0x20)))) { invalid() }
        mstore(place, word)
    }
}

/// @notice Drops all words from the `length`th on.
function rewind(Words memory words, uint256 length) pure {
    assembly ("memory-safe") {
        let end := add(add(mload(words), 0x20), shl(5, length))
        if gt(end, mload(add(words, 0x20))) { invalid() }
        mstore(add(words, 0x20), end)
    }
}

/// @notice The words as an array; nothing may be pushed afterwards.
function take(Words memory words) pure returns (uint256[] memory items) {
    items = words.items;
    uint256 length = words.count();
    assembly ("memory-safe") {
        mstore(items, length)
    }
}

function takeBytes32(Words memory words) pure returns (bytes32[] memory items) {
    uint256[] memory taken = words.take();
    assembly ("memory-safe") {
        items := taken
    }
}

/// @dev For lists that nothing but addresses were pushed to.
function takeAddresses(Words memory words) pure returns (address[] memory items) {
    uint256[] memory taken = words.take();
    assembly ("memory-safe") {
        items := taken
    }
}
