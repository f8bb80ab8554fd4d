// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Opened, Vote} from "../types/Opened.sol";
import {Order} from "../types/Orders.sol";
import {SeedOf} from "../types/Seats.sol";
import {Batch, Batches, Signed} from "./Batches.sol";
import {Parameters} from "./Parameters.sol";
import {newWords} from "./Words.sol";

/// @notice Reads the packed form of receipts, version 1.
/// @dev docs/protocol/settlement.md lays the bytes out; `node/assay_node/chain/packed.py` writes them. What many
/// receipts share stands in tables: requesters, terms, seeds, operators. Numbers are big-endian and of fixed width
/// (zero bytes are cheap), so each order and vote has one encoding. Anything else reverts, whole.
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
        /// Signatures of orders and of reveals stand in the tables, one for each signer.
        bool ordersOnce;
        bool revealsOnce;
        Terms[] terms;
        SeedOf[] seeds;
        address[] operators;
    }

    /// @dev What orders share: an order whose other members are still empty.
    struct Terms {
        Order order;
        /// The place of the requester.
        uint256 payer;
    }

    uint256 private constant VERSION = 1;
    uint256 private constant ORDERS_ONCE = 1;
    uint256 private constant REVEALS_ONCE = 2;

    uint256 private constant HEADER_BYTES = 14;
    uint256 private constant PARTY_BYTES = 20;
    uint256 private constant COUNT_BYTES = 2;
    uint256 private constant TERMS_BYTES = 92;
    uint256 private constant SEED_BYTES = 40;
    uint256 private constant RECEIPT_HEAD_BYTES = 15;
    uint256 private constant REPLICA_HEAD_BYTES = 15;
    uint256 private constant WORD_BYTES = 32;
    uint256 private constant SIGNATURE_BYTES = 64;
    uint256 private constant ORDER_MEMORY_BYTES = 0x200;

    /// @notice Reads the header and the tables.
    function open(bytes calldata packed, bytes32 domain)
        internal
        pure
        returns (Reader memory reader, Batch memory batch)
    {
        uint256 position;
        assembly ("memory-safe") {
            position := packed.offset
        }
        (reader.start, reader.position, reader.end) = (position, position, position + packed.length);
        uint256 head = _word(_skip(reader, HEADER_BYTES));
        if (_field(head, 0, 8) != VERSION) revert IMarket.Market_PackedUnknownVersion(_field(head, 0, 8));
        uint256 flags = _field(head, 8, 8);
        if (flags > (ORDERS_ONCE | REVEALS_ONCE)) _fail(reader);
        (reader.ordersOnce, reader.revealsOnce) = (flags & ORDERS_ONCE != 0, flags & REVEALS_ONCE != 0);
        (reader.receipts, reader.replicas) = (_field(head, 80, 16), _field(head, 96, 16));

        Signed[] memory payers = _readParties(reader, _field(head, 16, 16), reader.ordersOnce);
        _readTerms(reader, payers, _field(head, 32, 16));
        _readSeeds(reader, _field(head, 48, 16));
        Signed[] memory revealers = _readParties(reader, _field(head, 64, 16), reader.revealsOnce);
        batch = Batches.create(domain, reader.receipts, reader.replicas, revealers.length, reader.seeds);
        batch.seedCount = reader.seeds.length;
        reader.operators = new address[](revealers.length);
        for (uint256 i = 0; i < revealers.length; ++i) {
            reader.operators[i] = revealers[i].party;
            batch.enter(revealers[i].party);
        }
        if (reader.ordersOnce) batch.payers = payers;
        if (reader.revealsOnce) batch.revealers = revealers;
    }

    /// @notice Opens the next receipt; false when there is none left, and nothing else either.
    function next(Reader memory reader, Opened memory opened, Batch memory batch)
        internal
        pure
        returns (bool)
    {
        if (reader.receipts == 0) {
            _finish(reader, batch);
            return false;
        }
        --reader.receipts;
        uint256 head = _word(reader.position);
        uint256 count = _field(head, 32, 8);
        if (count > Parameters.MAX_REPLICAS || count > reader.replicas) _fail(reader);
        reader.replicas -= count;
        opened.count = count;
        uint256 position = _openOrder(reader, opened, head);
        bytes32 tag = bytes32(_word(position - WORD_BYTES));
        if (!reader.ordersOnce) {
            (opened.r, opened.vs) = _signature(position);
            position += SIGNATURE_BYTES;
        }
        position = _openVotes(reader, opened, position, tag, _field(head, 40, 8));
        // What was read past the end is not used.
        if (position > reader.end) _fail(reader);
        reader.position = position;
        return true;
    }

    /// @dev A receipt's head, spec and tag; what follows them.
    function _openOrder(Reader memory reader, Opened memory opened, uint256 head)
        private
        pure
        returns (uint256 position)
    {
        (uint256 termsPlace, uint256 seedPlace) = (_field(head, 0, 16), _field(head, 16, 16));
        if (termsPlace >= reader.terms.length || seedPlace >= reader.seeds.length) _fail(reader);
        Terms memory terms = reader.terms[termsPlace];
        SeedOf memory seed = reader.seeds[seedPlace];
        Order memory order = opened.order;
        Order memory shared = terms.order;
        assembly ("memory-safe") {
            mcopy(order, shared, ORDER_MEMORY_BYTES)
        }
        position = reader.position + RECEIPT_HEAD_BYTES;
        order.spec = bytes32(_word(position));
        order.hardwareClass = seed.hardwareClass;
        // These were read from fields of their own widths.
        // forge-lint: disable-next-line(unsafe-typecast)
        order.seedBlock = uint64(seed.seedBlock);
        // forge-lint: disable-next-line(unsafe-typecast)
        order.expiry = uint64(_field(head, 56, 64));
        order.nonce |= _field(head, 48, 8);
        opened.payer = terms.payer;
        opened.seed = seedPlace;
        return position + 2 * WORD_BYTES;
    }

    /// @param tag The first replica's; `ownTags` has a bit for each other one that says something else.
    function _openVotes(
        Reader memory reader,
        Opened memory opened,
        uint256 position,
        bytes32 tag,
        uint256 ownTags
    ) private pure returns (uint256) {
        if (ownTags >> opened.count != 0 || ownTags & 1 != 0) _fail(reader);
        for (uint256 i = 0; i < opened.count; ++i) {
            Vote memory vote = opened.votes[i];
            _openVote(reader, vote, position);
            position += REPLICA_HEAD_BYTES + WORD_BYTES;
            vote.tag = tag;
            if (ownTags >> i & 1 == 1) {
                vote.tag = bytes32(_word(position));
                position += WORD_BYTES;
                if (vote.tag == tag) _fail(reader);
            }
            if (!reader.revealsOnce) {
                (vote.r, vote.vs) = _signature(position);
                position += SIGNATURE_BYTES;
            }
        }
        return position;
    }

    function _openVote(Reader memory reader, Vote memory vote, uint256 position) private pure {
        uint256 head = _word(position);
        uint256 place = _field(head, 0, 16);
        if (place >= reader.operators.length) _fail(reader);
        vote.place = place;
        vote.operator = reader.operators[place];
        vote.ticket = _field(head, 16, 8);
        vote.secs = _field(head, 24, 32);
        vote.rate = _field(head, 56, 64);
        vote.salt = bytes32(_word(position + REPLICA_HEAD_BYTES));
    }

    /// @dev Requesters or operators, strictly rising, so that nobody stands there twice; where they sign once, how
    /// many hashes each signs and the signature.
    function _readParties(Reader memory reader, uint256 count, bool once)
        private
        pure
        returns (Signed[] memory parties)
    {
        uint256 size = once ? PARTY_BYTES + COUNT_BYTES + SIGNATURE_BYTES : PARTY_BYTES;
        uint256 position = _skip(reader, count * size);
        parties = new Signed[](count);
        uint256 last = 0;
        for (uint256 i = 0; i < count; ++i) {
            uint256 head = _word(position);
            uint256 party = _field(head, 0, 160);
            if (i != 0 && party <= last) _fail(reader);
            last = party;
            // forge-lint: disable-next-line(unsafe-typecast)
            parties[i].party = address(uint160(party));
            if (once) {
                (parties[i].r, parties[i].vs) = _signature(position + PARTY_BYTES + COUNT_BYTES);
                parties[i].hashes = newWords(_field(head, 160, 16));
            }
            position += size;
        }
    }

    function _readTerms(Reader memory reader, Signed[] memory payers, uint256 count) private pure {
        uint256 position = _skip(reader, count * TERMS_BYTES);
        reader.terms = new Terms[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 payer = _word(position) >> 240;
            if (payer >= payers.length) _fail(reader);
            reader.terms[i].payer = payer;
            Order memory order = reader.terms[i].order;
            order.requester = payers[payer].party;
            _readShared(order, position + 2);
            position += TERMS_BYTES;
        }
    }

    function _readShared(Order memory order, uint256 position) private pure {
        // Each cast is of a field of that width.
        // forge-lint: disable-start(unsafe-typecast)
        uint256 word = _word(position);
        order.scheduler = address(uint160(_field(word, 0, 160)));
        order.fee = uint64(_field(word, 160, 64));
        order.maxSeconds = uint32(_field(word, 224, 32));
        word = _word(position + 32);
        order.maxRate = uint64(_field(word, 0, 64));
        order.bond = uint64(_field(word, 64, 64));
        order.replicas = uint8(_field(word, 128, 8));
        order.quorum = uint8(_field(word, 136, 8));
        order.maxTicket = uint8(_field(word, 144, 8));
        order.commitWindow = uint32(_field(word, 152, 32));
        order.revealWindow = uint32(_field(word, 184, 32));
        order.nonce = _word(position + 59) >> 8 << 8;
        // forge-lint: disable-end(unsafe-typecast)
    }

    function _readSeeds(Reader memory reader, uint256 count) private pure {
        uint256 position = _skip(reader, count * SEED_BYTES);
        reader.seeds = new SeedOf[](count);
        for (uint256 i = 0; i < count; ++i) {
            reader.seeds[i].hardwareClass = bytes32(_word(position));
            reader.seeds[i].seedBlock = _field(_word(position + WORD_BYTES), 0, 64);
            position += SEED_BYTES;
        }
    }

    /// @dev Nothing may be left over: no byte, no replica, no hash that was to be signed.
    function _finish(Reader memory reader, Batch memory batch) private pure {
        if (reader.position != reader.end || reader.replicas != 0) _fail(reader);
        for (uint256 i = 0; i < batch.payers.length; ++i) {
            if (!batch.payers[i].hashes.isFull()) _fail(reader);
        }
        for (uint256 i = 0; i < batch.revealers.length; ++i) {
            if (!batch.revealers[i].hashes.isFull()) _fail(reader);
        }
    }

    /// @dev Takes `size` bytes, which are there, and says where they start.
    function _skip(Reader memory reader, uint256 size) private pure returns (uint256 position) {
        position = reader.position;
        if (size > reader.end - position) _fail(reader);
        reader.position = position + size;
    }

    function _fail(Reader memory reader) private pure {
        revert IMarket.Market_PackedMalformed(reader.position - reader.start);
    }

    function _signature(uint256 position) private pure returns (bytes32 r, bytes32 vs) {
        return (bytes32(_word(position)), bytes32(_word(position + WORD_BYTES)));
    }

    function _word(uint256 position) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(position)
        }
    }

    /// @dev `bits` bits of a word, from bit `from` counted from its start.
    function _field(uint256 word, uint256 from, uint256 bits) private pure returns (uint256) {
        return word << from >> 256 - bits;
    }
}
