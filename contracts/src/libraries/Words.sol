// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A list of words that is filled once, from its start.
/// @dev Pushing here costs a third of what writing to an array by a counted index costs. It is the position in memory
/// of: where the next word goes (0x00), where no word goes any more (0x20), room for a selector and two arguments
/// (0x40), the length (0xc0), and the words (0xe0). So a list is handed to another contract where it lies.
type Words is uint256;

using {
    push,
    isFull,
    count,
    first,
    next,
    extend,
    get,
    set,
    append,
    appendGrowing,
    grown,
    rewind,
    take,
    ask,
    tell
} for Words global;

uint256 constant LENGTH_AT = 0xc0;
uint256 constant FIRST_AT = 0xe0;

/// @notice An empty list with room for `capacity` words.
/// @dev The room is not zeroed: it is written before it is read.
function newWords(uint256 capacity) pure returns (Words words) {
    assembly ("memory-safe") {
        words := mload(0x40)
        let start := add(words, FIRST_AT)
        let limit := add(start, shl(5, capacity))
        mstore(words, start)
        mstore(add(words, 0x20), limit)
        mstore(0x40, limit)
    }
}

/// @dev More words than there is room for are an error of ours, so it stops everything.
function push(Words words, uint256 word) pure {
    assembly ("memory-safe") {
        let end := mload(words)
        if iszero(lt(end, mload(add(words, 0x20)))) { invalid() }
        mstore(end, word)
        mstore(words, add(end, 0x20))
    }
}

function isFull(Words words) pure returns (bool full) {
    assembly ("memory-safe") {
        full := eq(mload(words), mload(add(words, 0x20)))
    }
}

function count(Words words) pure returns (uint256 length) {
    assembly ("memory-safe") {
        length := shr(5, sub(mload(words), add(words, FIRST_AT)))
    }
}

/// @notice Where in memory the first word is.
function first(Words words) pure returns (uint256 cursor) {
    assembly ("memory-safe") {
        cursor := add(words, FIRST_AT)
    }
}

/// @notice Where in memory the next word goes, for who writes several and then says so by `extend`.
function next(Words words) pure returns (uint256 cursor) {
    assembly ("memory-safe") {
        cursor := mload(words)
    }
}

/// @notice All words before `end` have been written.
function extend(Words words, uint256 end) pure {
    assembly ("memory-safe") {
        if gt(end, mload(add(words, 0x20))) { invalid() }
        mstore(words, end)
    }
}

function get(Words words, uint256 i) pure returns (uint256 word) {
    assembly ("memory-safe") {
        let cursor := add(add(words, FIRST_AT), shl(5, i))
        if iszero(lt(cursor, mload(words))) { invalid() }
        word := mload(cursor)
    }
}

function set(Words words, uint256 i, uint256 word) pure {
    assembly ("memory-safe") {
        let cursor := add(add(words, FIRST_AT), shl(5, i))
        if iszero(lt(cursor, mload(words))) { invalid() }
        mstore(cursor, word)
    }
}

/// @notice Adds another list's words.
function append(Words words, Words others) pure {
    assembly ("memory-safe") {
        let end := mload(words)
        let start := add(others, FIRST_AT)
        let size := sub(mload(others), start)
        let newEnd := add(end, size)
        if gt(newEnd, mload(add(words, 0x20))) { invalid() }
        mcopy(end, start, size)
        mstore(words, newEnd)
    }
}

/// @notice The same words in a list with room for so many more.
function grown(Words words, uint256 more) pure returns (Words larger) {
    larger = newWords(words.count() + more);
    larger.append(words);
}

/// @notice Adds another list's words, in a new list where there is no room for them.
function appendGrowing(Words words, Words others) pure returns (Words all) {
    uint256 size = others.count();
    bool room;
    assembly ("memory-safe") {
        room := iszero(gt(add(mload(words), shl(5, size)), mload(add(words, 0x20))))
    }
    all = room ? words : words.grown(size);
    all.append(others);
}

/// @notice Drops all words from the `length`th on.
function rewind(Words words, uint256 length) pure {
    assembly ("memory-safe") {
        let end := add(add(words, FIRST_AT), shl(5, length))
        if gt(end, mload(words)) { invalid() }
        mstore(words, end)
    }
}

/// @notice The words as an array; nothing may be pushed afterwards.
function take(Words words) pure returns (uint256[] memory items) {
    uint256 length = words.count();
    assembly ("memory-safe") {
        items := add(words, LENGTH_AT)
        mstore(items, length)
    }
}

/// @notice Calls a view function `(uint256 a, uint256 b, uint256[] words)` of a contract of ours.
function ask(Words words, address to, bytes4 selector, uint256 a, uint256 b)
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
function tell(Words words, address to, bytes4 selector, uint256 a, uint256 b) returns (bytes memory answer) {
    (uint256 input, uint256 size) = _frame(words, selector, a, b);
    bool done;
    assembly ("memory-safe") {
        done := call(gas(), to, 0, input, size, 0, 0)
    }
    return _answer(done);
}

/// @dev Writes what a call has before its words into the room before them.
function _frame(Words words, bytes4 selector, uint256 a, uint256 b)
    pure
    returns (uint256 input, uint256 size)
{
    uint256 length = words.count();
    assembly ("memory-safe") {
        mstore(add(words, LENGTH_AT), length)
        mstore(add(words, 0xa0), 0x60)
        mstore(add(words, 0x80), b)
        mstore(add(words, 0x60), a)
        mstore(add(words, 0x40), shr(224, selector)) // in the last 4 bytes of its word
        input := add(words, 0x5c)
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
