// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {BATCH_JOBS, Batch, Batches, Signed} from "./Batches.sol";
// Assembly uses them, which solhint does not see.
// solhint-disable no-unused-import
import {
    DESK_AUDIT_BPS,
    DESK_BOND,
    DESK_COMMIT_WINDOW,
    DESK_COUNT,
    DESK_ESCALATE,
    DESK_EXPIRY,
    DESK_FEE,
    DESK_HARDWARE_CLASS,
    DESK_MAX_RATE,
    DESK_MAX_SECONDS,
    DESK_MAX_TICKET,
    DESK_NONCE,
    DESK_PAYER,
    DESK_QUORUM,
    DESK_R,
    DESK_RECORD,
    DESK_RECORD_FEE,
    DESK_REPLICAS,
    DESK_REQUESTER,
    DESK_REVEAL_WINDOW,
    DESK_SCHEDULER,
    DESK_SEED,
    DESK_SEED_BLOCK,
    DESK_SPEC,
    DESK_VOTES,
    DESK_VS,
    Desk,
    VOTE_BYTES,
    VOTE_OPERATOR,
    VOTE_PLACE,
    VOTE_R,
    VOTE_RATE,
    VOTE_SALT,
    VOTE_SECS,
    VOTE_TAG,
    VOTE_TICKET,
    VOTE_VS
} from "./Desk.sol";
// solhint-enable no-unused-import
import {Parameters} from "./Parameters.sol";
import {Raw} from "./Raw.sol";
import {Records} from "./Records.sol";
import {Words, newWords} from "./Words.sol";

// Where in memory these members of the reader are: its place is `atPlaces`'s to check.
uint256 constant READER_POSITION = 0x14e0;
uint256 constant READER_START = 0x1500;
uint256 constant READER_END = 0x1520;
uint256 constant READER_RECEIPTS = 0x1540;
uint256 constant READER_REPLICAS = 0x1560;
uint256 constant READER_ORDER_SIGNATURE = 0x1580;
uint256 constant READER_REVEAL_SIGNATURE = 0x15a0;
uint256 constant READER_OPERATORS_AT = 0x16a0;
uint256 constant READER_OPERATORS = 0x16c0;
uint256 constant READER_OPERATOR_BYTES = 0x16e0;
uint256 constant READER_ENTRIES = 0x1700;
uint256 constant READER_OPEN = 0x1720;
uint256 constant READER_PLAIN_HEAD = 0x1740;
uint256 constant READER_PLAIN_BYTES = 0x1760;
uint256 constant READER_HORIZON = 0x1780;

/// @notice Reads the packed form of receipts, version 1.
/// @dev docs/protocol/settlement.md lays the bytes out; `node/assay_node/chain/packed.py` writes them. What many
/// receipts share stands in tables: requesters, terms, seeds, operators. Numbers are big-endian and of fixed width
/// (zero bytes are cheap), so each order and vote has one encoding. Anything else reverts, whole.
///
/// Arithmetic is unchecked: a position is at most the length of the call data plus counts of 16 bits times sizes.
library Packed {
    using Batches for Batch;

    /// @dev Positions are in the call data.
    struct Reader {
        uint256 position;
        uint256 start;
        uint256 end;
        /// How many receipts, and replicas of them, are still to come.
        uint256 receipts;
        uint256 replicas;
        /// How long a signature beside each order and each reveal is: 64, or nothing where it stands in the tables.
        uint256 orderSignature;
        uint256 revealSignature;
        /// The tables: where each starts, how many entries it has, and how long an entry is where that varies.
        uint256 requestersAt;
        uint256 requesters;
        uint256 requesterBytes;
        uint256 termsAt;
        uint256 terms;
        uint256 seedsAt;
        uint256 seeds;
        uint256 operatorsAt;
        uint256 operators;
        uint256 operatorBytes;
        /// Where in memory the batch's operators are.
        uint256 entries;
        /// The terms (16 bits) and the seed (16) that lie on the desk: receipts that follow each other often share them.
        uint256 open;
        /// How a receipt of these terms says its replicas (8 bits) and own tags (8) where it is plain (`Plain`), or what
        /// none says; and how many bytes it has.
        uint256 plainHead;
        uint256 plainBytes;
        /// Seconds that an order may lie ahead of its expiry.
        uint256 horizon;
    }

    /// @dev What no 16 bits are.
    uint256 private constant NOTHING = type(uint256).max;

    uint256 private constant PLACES = type(uint16).max;

    uint256 private constant VERSION = 1;
    uint256 private constant ORDERS_ONCE = 1;
    uint256 private constant REVEALS_ONCE = 2;

    uint256 private constant HEADER_BYTES = 14;
    uint256 private constant PARTY_BYTES = 20;
    /// @dev A party with how many hashes it signs and its signature.
    uint256 private constant SIGNED_PARTY_BYTES = 86;
    uint256 private constant TERMS_BYTES = 95;
    uint256 private constant SEED_BYTES = 40;
    /// @dev Without signatures and tags of their own.
    uint256 private constant RECEIPT_BYTES_MIN = 79;
    uint256 private constant REPLICA_BYTES_MIN = 47;
    uint256 private constant SIGNATURE_BYTES = 64;

    /// @notice Reads the header and looks over the tables.
    /// @param reader At READER_POSITION, and `batch` at BATCH_JOBS: `Plain` and this library know them by their places.
    function open(bytes calldata packed, Reader memory reader, Batch memory batch) internal pure {
        unchecked {
            assert(_position(reader) == READER_POSITION && _position(batch) == BATCH_JOBS);
            assembly ("memory-safe") {
                mstore(READER_POSITION, packed.offset)
                mstore(READER_START, packed.offset)
            }
            reader.end = reader.start + packed.length;
            reader.open = NOTHING;
            reader.horizon = Parameters.HORIZON;
            if (packed.length < HEADER_BYTES) _fail(reader);
            uint256 head = Raw.given(reader.start);
            if (head >> 248 != VERSION) revert IMarket.Market_PackedUnknownVersion(head >> 248);
            uint256 flags = head >> 240 & type(uint8).max;
            if (flags > (ORDERS_ONCE | REVEALS_ONCE)) _fail(reader);
            (reader.receipts, reader.replicas) = (head >> 160 & PLACES, head >> 144 & PLACES);
            uint256 least = reader.receipts * RECEIPT_BYTES_MIN + reader.replicas * REPLICA_BYTES_MIN;
            if (least > packed.length) _fail(reader); // before memory is taken for them
            _findTables(reader, head, flags);
            batch.create(reader.receipts, reader.replicas, reader.operators, reader.seeds);
            _fill(reader, batch, flags);
        }
    }

    /// @notice Lays the order's terms and seed on the desk.
    function turnTo(Reader memory reader) internal pure {
        unchecked {
            uint256 wanted = Raw.given(reader.position) >> 224;
            if (wanted >> 16 != reader.open >> 16) _openTerms(reader, wanted >> 16);
            _openSeed(reader, wanted & type(uint16).max);
            reader.open = wanted;
        }
    }

    /// @notice Lays the next receipt, whose terms and seed are there, on the desk.
    function next(Reader memory reader) internal pure {
        unchecked {
            --reader.receipts;
            uint256 position = reader.position;
            uint256 head = Raw.given(position);
            uint256 count = _field(head, 32, 8);
            uint256 ownTags = _field(head, 40, 8);
            // The first replica's tag is the receipt's, and no bit has no replica.
            if (ownTags & 1 != 0 || ownTags >> count != 0) _fail(reader);
            if (count > Parameters.MAX_REPLICAS || count > reader.replicas) _fail(reader);
            reader.replicas -= count;
            Raw.store(DESK_COUNT, count);
            uint256 nonce = Raw.load(DESK_NONCE);
            Raw.store(DESK_NONCE, nonce >> 8 << 8 | _field(head, 48, 8));
            Raw.store(DESK_EXPIRY, _field(head, 56, 64));
            Raw.store(DESK_SPEC, Raw.given(position + 15));
            Raw.store(DESK_R, Raw.given(position + 79));
            Raw.store(DESK_VS, Raw.given(position + 111));
            uint256 votes = position + RECEIPT_BYTES_MIN + reader.orderSignature;
            _openVotes(reader, votes, Raw.given(position + 47), ownTags);
        }
    }

    /// @notice Reverts if anything is left over: a byte, a replica, a hash that was to be signed.
    function close(Reader memory reader, Batch memory batch) internal pure {
        if (reader.position != reader.end || reader.replicas != 0) _fail(reader);
        for (uint256 i = 0; i < batch.payers.length; ++i) {
            if (!batch.payers[i].hashes.isFull()) _fail(reader);
        }
        for (uint256 i = 0; i < batch.revealers.length; ++i) {
            if (!batch.revealers[i].hashes.isFull()) _fail(reader);
        }
    }

    // --- receipts -----------------------------------------------------------------------------

    /// @dev Payer (2), scheduler (20), fee (8), maxSeconds (4), maxRate (8), bond (8), replicas (1), quorum (1),
    /// maxTicket (1), commitWindow (4), revealWindow (4), auditBps (2), escalate (1), the nonce without its last
    /// byte (31).
    function _openTerms(Reader memory reader, uint256 place) private pure {
        unchecked {
            if (place >= reader.terms) _fail(reader);
            uint256 cursor = reader.termsAt + place * TERMS_BYTES;
            uint256 payer = Raw.given(cursor) >> 240;
            if (payer >= reader.requesters) _fail(reader);
            uint256 requester = Raw.given(reader.requestersAt + payer * reader.requesterBytes);
            uint256 first = Raw.given(cursor + 2);
            uint256 word = Raw.given(cursor + 34);
            assembly ("memory-safe") {
                mstore(DESK_PAYER, payer)
                mstore(DESK_REQUESTER, shr(96, requester))
                mstore(DESK_SCHEDULER, shr(96, first))
                mstore(DESK_FEE, and(shr(32, first), 0xffffffffffffffff))
                mstore(DESK_MAX_SECONDS, and(first, 0xffffffff))
                mstore(DESK_MAX_RATE, shr(192, word))
                mstore(DESK_BOND, and(shr(128, word), 0xffffffffffffffff))
                mstore(DESK_REPLICAS, byte(16, word))
                mstore(DESK_QUORUM, byte(17, word))
                mstore(DESK_MAX_TICKET, byte(18, word))
                mstore(DESK_COMMIT_WINDOW, and(shr(72, word), 0xffffffff))
                mstore(DESK_REVEAL_WINDOW, and(shr(40, word), 0xffffffff))
                mstore(DESK_AUDIT_BPS, and(shr(24, word), 0xffff))
            }
            uint256 escalate = _field(word, 232, 8);
            if (escalate > 1) _fail(reader);
            Raw.store(DESK_ESCALATE, escalate);
            Raw.store(DESK_NONCE, Raw.given(cursor + 63) << 8);
            _expectPlain(reader, word, Raw.load(DESK_MAX_SECONDS));
        }
    }

    /// @dev What a receipt of the terms that `word` is of looks like where nothing is wrong with the order: see
    /// `Judge.checkOrder`. No replica can be paid more than 64 bits of money.
    function _expectPlain(Reader memory reader, uint256 word, uint256 maxSeconds) private pure {
        unchecked {
            (uint256 replicas, uint256 quorum) = (_field(word, 128, 8), _field(word, 136, 8));
            bool sound = replicas <= Parameters.MAX_REPLICAS && quorum <= replicas && quorum * 2 > replicas;
            sound = sound && _field(word, 216, 16) <= Parameters.BPS;
            sound = sound && _field(word, 0, 64) * maxSeconds <= type(uint64).max;
            reader.plainHead = sound ? replicas << 8 : NOTHING;
            uint256 each = REPLICA_BYTES_MIN + reader.revealSignature;
            reader.plainBytes = RECEIPT_BYTES_MIN + reader.orderSignature + replicas * each;
            // What is the same in each record of these terms.
            Raw.store(DESK_RECORD + Records.REQUESTER, Raw.load(DESK_REQUESTER));
            Raw.store(DESK_RECORD + Records.OFFSET, Records.OFFSET_AFTER_VOTE);
            Raw.store(DESK_RECORD + Records.COUNT, replicas + 1);
            uint256 fee = Records.toWord(Raw.load(DESK_SCHEDULER), Raw.load(DESK_FEE), Records.FEE);
            Raw.store(DESK_RECORD_FEE, fee);
        }
    }

    function _openSeed(Reader memory reader, uint256 place) private pure {
        unchecked {
            if (place >= reader.seeds) _fail(reader);
            uint256 cursor = reader.seedsAt + place * SEED_BYTES;
            Raw.store(DESK_SEED, place);
            Raw.store(DESK_HARDWARE_CLASS, Raw.given(cursor));
            Raw.store(DESK_SEED_BLOCK, Raw.given(cursor + 32) >> 192);
        }
    }

    /// @dev For each: operator (2), ticket (1), seconds (4), rate (8), salt (32), its own tag (32) where a bit of
    /// `ownTags` says so, signature (64). In assembly: there are hundreds in a batch.
    /// @param tag The first replica's.
    function _openVotes(Reader memory reader, uint256 position, uint256 tag, uint256 ownTags) private pure {
        bool bad;
        (uint256 signature, uint256 end) = (reader.revealSignature, Desk.endOfVotes());
        assembly ("memory-safe") {
            for { let vote := DESK_VOTES } lt(vote, end) { vote := add(vote, VOTE_BYTES) } {
                let head := calldataload(position)
                let place := shr(240, head)
                bad := or(bad, iszero(lt(place, mload(READER_OPERATORS))))
                let operator := mul(place, mload(READER_OPERATOR_BYTES))
                operator := calldataload(add(mload(READER_OPERATORS_AT), operator))
                mstore(add(vote, VOTE_PLACE), place)
                mstore(add(vote, VOTE_OPERATOR), shr(96, operator))
                mstore(add(vote, VOTE_TICKET), byte(2, head))
                mstore(add(vote, VOTE_SECS), and(shr(200, head), 0xffffffff))
                mstore(add(vote, VOTE_RATE), and(shr(136, head), 0xffffffffffffffff))
                mstore(add(vote, VOTE_SALT), calldataload(add(position, 15)))
                mstore(add(vote, VOTE_TAG), tag)
                position := add(position, REPLICA_BYTES_MIN)
                if and(ownTags, 1) {
                    let own := calldataload(position)
                    bad := or(bad, eq(own, tag))
                    mstore(add(vote, VOTE_TAG), own)
                    position := add(position, 0x20)
                }
                ownTags := shr(1, ownTags)
                mstore(add(vote, VOTE_R), calldataload(position))
                mstore(add(vote, VOTE_VS), calldataload(add(position, 0x20)))
                position := add(position, signature)
            }
        }
        // What was read past an end is not used.
        if (bad || position > reader.end) _fail(reader);
        reader.position = position;
    }

    // --- tables -------------------------------------------------------------------------------

    function _findTables(Reader memory reader, uint256 head, uint256 flags) private pure {
        unchecked {
            (reader.requesterBytes, reader.operatorBytes) = (PARTY_BYTES, PARTY_BYTES);
            (reader.orderSignature, reader.revealSignature) = (SIGNATURE_BYTES, SIGNATURE_BYTES);
            if (flags & ORDERS_ONCE != 0) {
                (reader.requesterBytes, reader.orderSignature) = (SIGNED_PARTY_BYTES, 0);
            }
            if (flags & REVEALS_ONCE != 0) {
                (reader.operatorBytes, reader.revealSignature) = (SIGNED_PARTY_BYTES, 0);
            }
            reader.requesters = head >> 224 & PLACES;
            reader.terms = head >> 208 & PLACES;
            reader.seeds = head >> 192 & PLACES;
            reader.operators = head >> 176 & PLACES;
            reader.requestersAt = reader.start + HEADER_BYTES;
            reader.termsAt = reader.requestersAt + reader.requesters * reader.requesterBytes;
            reader.seedsAt = reader.termsAt + reader.terms * TERMS_BYTES;
            reader.operatorsAt = reader.seedsAt + reader.seeds * SEED_BYTES;
            reader.position = reader.operatorsAt + reader.operators * reader.operatorBytes;
            if (reader.position > reader.end) _fail(reader);
        }
    }

    function _fill(Reader memory reader, Batch memory batch, uint256 flags) private pure {
        unchecked {
            uint256 end = reader.requestersAt + reader.requesters * reader.requesterBytes;
            uint256 least = 0;
            for (uint256 cursor = reader.requestersAt; cursor != end; cursor += reader.requesterBytes) {
                uint256 party = Raw.given(cursor) >> 96;
                if (party < least) _fail(reader);
                least = party + 1;
            }
            _fillOperators(reader, batch);
            Words seeds = batch.seeds;
            end = reader.seedsAt + reader.seeds * SEED_BYTES;
            for (uint256 cursor = reader.seedsAt; cursor != end; cursor += SEED_BYTES) {
                seeds.push(Raw.given(cursor));
                seeds.push(Raw.given(cursor + 32) >> 192);
            }
            if (flags & ORDERS_ONCE != 0) {
                batch.payers = _readSigned(reader.requestersAt, reader.requesters);
            }
            if (flags & REVEALS_ONCE != 0) {
                batch.revealers = _readSigned(reader.operatorsAt, reader.operators);
            }
        }
    }

    /// @dev `Batches.add` for each operator. They, and the requesters, rise strictly, so that nobody stands in a table
    /// twice: an operator would have two votes.
    function _fillOperators(Reader memory reader, Batch memory batch) private pure {
        (uint256 entry, uint256 newest, uint256 key) =
            (batch.operators.next(), batch.newestKeys.next(), batch.keys.next());
        bool bad;
        reader.entries = entry;
        assembly ("memory-safe") {
            let cursor := mload(READER_OPERATORS_AT)
            let count := mload(READER_OPERATORS)
            let least := 0
            for { let place := 0 } lt(place, count) { place := add(place, 1) } {
                let party := shr(96, calldataload(cursor))
                bad := or(bad, lt(party, least))
                least := add(party, 1)
                mstore(entry, or(party, shl(232, place)))
                mstore(newest, shl(160, place))
                mstore(key, party)
                mstore(add(key, 0x20), 0)
                entry := add(entry, 0x20)
                newest := add(newest, 0x20)
                key := add(key, 0x40)
                cursor := add(cursor, mload(READER_OPERATOR_BYTES))
            }
        }
        if (bad) _fail(reader);
        batch.operators.extend(entry);
        batch.newestKeys.extend(newest);
        batch.keys.extend(key);
    }

    /// @dev For each: the party (20), how many hashes it signs (2), its signature (64).
    function _readSigned(uint256 cursor, uint256 count) private pure returns (Signed[] memory list) {
        unchecked {
            list = new Signed[](count);
            for (uint256 i = 0; i < count; ++i) {
                Signed memory signed = list[i];
                uint256 word = Raw.given(cursor);
                // 160 bits are left.
                // forge-lint: disable-next-line(unsafe-typecast)
                signed.party = address(uint160(word >> 96));
                signed.hashes = newWords(_field(word, 160, 16));
                signed.r = Raw.given(cursor + 22);
                signed.vs = Raw.given(cursor + 54);
                cursor += SIGNED_PARTY_BYTES;
            }
        }
    }

    function _position(Reader memory reader) private pure returns (uint256 position) {
        assembly ("memory-safe") {
            position := reader
        }
    }

    function _position(Batch memory batch) private pure returns (uint256 position) {
        assembly ("memory-safe") {
            position := batch
        }
    }

    // --- bytes --------------------------------------------------------------------------------

    function _fail(Reader memory reader) private pure {
        revert IMarket.Market_PackedMalformed(reader.position - reader.start);
    }

    /// @dev `bits` bits of a word, from bit `from` counted from its start.
    function _field(uint256 word, uint256 from, uint256 bits) private pure returns (uint256) {
        unchecked {
            return word << from >> 256 - bits;
        }
    }
}
