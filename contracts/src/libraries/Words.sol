// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A list of words that is filled once, from its start.
/// @dev Pushing here costs a third of what writing to an array by a counted index costs, and a batch of receipts
/// pushes thousands of words. Before the length there is room for a selector and two arguments, so that a list is
/// handed to another contract where it lies.
struct Words {
    /// The words with room for all of them; the length is right once the list is taken.
    uint256[] items;
    /// Where in memory the next word goes.
    uint256 end;
    /// Where no word goes any more.
    uint256 limit;
}

using {push, isFull, count, get, set, append, rewind, take, ask, tell} for Words global;

/// @notice An empty list with room for `capacity` words.
/// @dev The room is not zeroed: it is written before it is read.
function newWords(uint256 capacity) pure returns (Words memory words) {
    assembly ("memory-safe") {
        let items := add(mload(0x40), 0x80)
        let start := add(items, 0x20)
        let limit := add(start, shl(5, capacity))
        mstore(0x40, limit)
        mstore(words, items)
        mstore(add(words, 0x20), start)
        mstore(add(words, 0x40), limit)
    }
}

/// @dev More words than there is room for are an error of ours, so it stops everything.
function push(Words memory words, uint256 word) pure {
    assembly ("memory-safe") {
        let end := mload(add(words, 0x20))
        if iszero(lt(end, mload(add(words, 0x40)))) { invalid() }
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

/// @notice Adds another list's words.
function append(Words memory words, Words memory others) pure {
    uint256 size = others.count() * 32;
    assembly ("memory-safe") {
        let end := mload(add(words, 0x20))
        let newEnd := add(end, size)
        if gt(newEnd, mload(add(words, 0x40))) { invalid() }
        mcopy(end, add(mload(others), 0x20), size)
        mstore(add(words, 0x20), newEnd)
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

/// @notice Calls a view function `(uint256 a, uint256 b, uint256[] words)` of a contract of ours.
function ask(Words memory words, address to, bytes4 selector, uint256 a, uint256 b)
    view
    returns (bytes memory answer)
{
    (uint256 input, uint256 size) = _frame(words, selector, a, b);
    bool done;
    assembly ("memory-safe") {
        done := staticcall(gas(), to, input, size, 0, 0)
    }
    return _answer(done);
}

/// @notice Calls a function `(uint256 a, uint256 b, uint256[] words)` of a contract of ours.
function tell(Words memory words, address to, bytes4 selector, uint256 a, uint256 b)
    returns (bytes memory answer)
{
    (uint256 input, uint256 size) = _frame(words, selector, a, b);
    bool done;
    assembly ("memory-safe") {
        done := call(gas(), to, 0, input, size, 0, 0)
    }
    return _answer(done);
}

/// @dev Writes what a call has before its words into the room before them.
function _frame(Words memory words, bytes4 selector, uint256 a, uint256 b)
    pure
    returns (uint256 input, uint256 size)
{
    uint256 length = words.count();
    assembly ("memory-safe") {
        let items := mload(words)
        mstore(items, length)
        mstore(sub(items, 0x20), 0x60)
        mstore(sub(items, 0x40), b)
        mstore(sub(items, 0x60), a)
        input := sub(items, 0x64)
        // What is in the 28 bytes before the selector is nobody's: the room has 4 words.
        mstore(sub(items, 0x80), shr(224, selector))
        size := add(0x84, shl(5, length))
    }
}

/// @dev What was returned; a revert is passed on.
function _answer(bool done) pure returns (bytes memory answer) {
    assembly ("memory-safe") {
        answer := mload(0x40)
        let size := returndatasize()
        mstore(answer, size)
        returndatacopy(add(answer, 0x20), 0, size)
        mstore(0x40, add(add(answer, 0x20), and(add(size, 0x1f), not(0x1f))))
        if iszero(done) { revert(add(answer, 0x20), size) }
    }
}
