// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Opened} from "../types/Opened.sol";
import {Order} from "../types/Orders.sol";
import {Batch, Batches, Signed, Sizes} from "./Batches.sol";
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
        /// How long a signature beside each order and each reveal is: 64, or nothing where it stands in the tables.
        uint256 orderSignature;
        uint256 revealSignature;
        Terms[] terms;
        /// Pairs: hardware class and block.
        uint256[] seeds;
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
    /// @dev Without signatures and tags of their own.
    uint256 private constant RECEIPT_BYTES_MIN = 79;
    uint256 private constant REPLICA_BYTES_MIN = 47;
    uint256 private constant WORD_BYTES = 32;
    uint256 private constant SIGNATURE_BYTES = 64;

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
        (reader.receipts, reader.replicas) = (_field(head, 80, 16), _field(head, 96, 16));
        uint256 least = reader.receipts * RECEIPT_BYTES_MIN + reader.replicas * REPLICA_BYTES_MIN;
        if (least > packed.length) _fail(reader);
        batch = _readTables(reader, head, domain);
    }

    /// @notice Opens the next receipt; false when there is none left.
    function next(Reader memory reader, Opened memory opened) internal pure returns (bool) {
        if (reader.receipts == 0) return false;
        --reader.receipts;
        (bool good, uint256 position, bytes32 tag, uint256 ownTags) = _openOrder(reader, opened);
        // A number of votes that there is no room for must not be read.
        if (!good) _fail(reader);
        reader.replicas -= opened.count;
        (good, position) = _openVotes(reader, opened, position, tag, ownTags);
        // What was read past the end is not used.
        if (!good || position > reader.end) _fail(reader);
        reader.position = position;
        return true;
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

    /// @dev Head (15), spec (32), tag (32), signature (64). In assembly, as the votes: there are hundreds in a batch.
    /// Members of Order lie one word after the other; Opened says where its own are.
    /// @return good Whether all places are in their tables, and there are votes left and room for them.
    /// @return position Where the votes start.
    function _openOrder(Reader memory reader, Opened memory opened)
        private
        pure
        returns (bool good, uint256 position, bytes32 tag, uint256 ownTags)
    {
        (Terms[] memory terms, uint256[] memory seeds) = (reader.terms, reader.seeds);
        (uint256 mostVotes, uint256 left) = (Parameters.MAX_REPLICAS, reader.replicas);
        position = reader.position;
        assembly ("memory-safe") {
            let head := calldataload(position)
            let termsPlace := shr(240, head)
            let seedPlace := and(shr(224, head), 0xffff)
            let count := byte(4, head)
            ownTags := byte(5, head)
            good := and(lt(termsPlace, mload(terms)), lt(shl(1, seedPlace), mload(seeds)))
            good := and(good, iszero(or(gt(count, mostVotes), gt(count, left))))
            good := and(good, iszero(or(and(ownTags, 1), shr(count, ownTags))))
            if good {
                let shared := mload(add(add(terms, 0x20), shl(5, termsPlace)))
                let seed := add(add(seeds, 0x20), shl(6, seedPlace))
                let order := mload(opened)
                mcopy(order, mload(shared), 0x200)
                mstore(add(order, 0x20), calldataload(add(position, 15))) // spec
                mstore(add(order, 0x40), mload(seed)) // hardwareClass
                mstore(add(order, 0x1a0), mload(add(seed, 0x20))) // seedBlock
                mstore(add(order, 0x1c0), and(shr(136, head), 0xffffffffffffffff)) // expiry
                let nonce := add(order, 0x1e0)
                mstore(nonce, or(mload(nonce), byte(6, head)))
                tag := calldataload(add(position, 47))
                mstore(add(opened, 0x20), calldataload(add(position, 79))) // r
                mstore(add(opened, 0x40), calldataload(add(position, 111))) // vs
                mstore(add(opened, 0x60), mload(add(shared, 0x20))) // payer
                mstore(add(opened, 0x80), seedPlace)
                mstore(add(opened, 0xa0), count)
            }
        }
        position += RECEIPT_BYTES_MIN + reader.orderSignature;
    }

    /// @dev For each: head (15), salt (32), its own tag (32) where a bit of `ownTags` says so, signature (64).
    /// @param tag The first replica's.
    /// @return good Whether all operators are in the table, and each own tag is another than the first.
    function _openVotes(
        Reader memory reader,
        Opened memory opened,
        uint256 position,
        bytes32 tag,
        uint256 ownTags
    ) private pure returns (bool good, uint256 end) {
        address[] memory operators = reader.operators;
        uint256 signature = reader.revealSignature;
        assembly ("memory-safe") {
            good := 1
            let votes := add(mload(add(opened, 0xc0)), 0x20)
            for { let last := add(votes, shl(5, mload(add(opened, 0xa0)))) } lt(votes, last) {} {
                let vote := mload(votes)
                let head := calldataload(position)
                let place := shr(240, head)
                if iszero(lt(place, mload(operators))) {
                    good := 0
                    break
                }
                mstore(add(vote, 0x20), mload(add(add(operators, 0x20), shl(5, place))))
                mstore(add(vote, 0x40), tag)
                mstore(add(vote, 0x60), and(shr(200, head), 0xffffffff)) // secs
                mstore(add(vote, 0x80), calldataload(add(position, 15))) // salt
                mstore(add(vote, 0xa0), and(shr(136, head), 0xffffffffffffffff)) // rate
                mstore(add(vote, 0xc0), byte(2, head)) // ticket
                mstore(add(vote, 0xe0), place)
                position := add(position, 47)
                if and(ownTags, 1) {
                    let own := calldataload(position)
                    good := and(good, iszero(eq(own, tag)))
                    mstore(add(vote, 0x40), own)
                    position := add(position, 32)
                }
                ownTags := shr(1, ownTags)
                mstore(add(vote, 0x100), calldataload(position)) // r
                mstore(add(vote, 0x120), calldataload(add(position, 32))) // vs
                position := add(position, signature)
                votes := add(votes, 0x20)
            }
            end := position
        }
    }

    // --- tables -------------------------------------------------------------------------------

    function _readTables(Reader memory reader, uint256 head, bytes32 domain)
        private
        pure
        returns (Batch memory batch)
    {
        uint256 flags = _field(head, 8, 8);
        if (flags > (ORDERS_ONCE | REVEALS_ONCE)) _fail(reader);
        bool ordersOnce = flags & ORDERS_ONCE != 0;
        bool revealsOnce = flags & REVEALS_ONCE != 0;
        (address[] memory requesters, Signed[] memory payers) =
            _readParties(reader, _field(head, 16, 16), ordersOnce);
        _readTerms(reader, requesters, _field(head, 32, 16));
        _readSeeds(reader, _field(head, 48, 16));
        Signed[] memory revealers;
        (reader.operators, revealers) = _readParties(reader, _field(head, 64, 16), revealsOnce);
        batch = Batches.create(
            domain, Sizes(reader.receipts, reader.replicas, reader.operators.length, reader.seeds.length / 2)
        );
        for (uint256 i = 0; i < reader.seeds.length; ++i) {
            batch.seeds.push(reader.seeds[i]);
        }
        for (uint256 i = 0; i < reader.operators.length; ++i) {
            batch.enter(reader.operators[i]);
        }
        (batch.payers, batch.revealers) = (payers, revealers);
        if (!ordersOnce) reader.orderSignature = SIGNATURE_BYTES;
        if (!revealsOnce) reader.revealSignature = SIGNATURE_BYTES;
    }

    /// @dev Requesters or operators, strictly rising, so that nobody stands there twice; where they sign once, how
    /// many hashes each signs and the signature.
    function _readParties(Reader memory reader, uint256 count, bool once)
        private
        pure
        returns (address[] memory parties, Signed[] memory signed)
    {
        uint256 size = once ? PARTY_BYTES + COUNT_BYTES + SIGNATURE_BYTES : PARTY_BYTES;
        uint256 position = _skip(reader, count * size);
        parties = new address[](count);
        if (once) signed = new Signed[](count);
        uint256 least = 0;
        for (uint256 i = 0; i < count; ++i) {
            uint256 party = _word(position) >> 96;
            if (party < least) _fail(reader);
            least = party + 1;
            // 160 bits were left.
            // forge-lint: disable-next-line(unsafe-typecast)
            parties[i] = address(uint160(party));
            if (once) _readSigned(signed[i], parties[i], position);
            position += size;
        }
    }

    function _readSigned(Signed memory signed, address party, uint256 position) private pure {
        signed.party = party;
        signed.hashes = newWords(_field(_word(position), 160, 16));
        signed.r = bytes32(_word(position + PARTY_BYTES + COUNT_BYTES));
        signed.vs = bytes32(_word(position + PARTY_BYTES + COUNT_BYTES + WORD_BYTES));
    }

    function _readTerms(Reader memory reader, address[] memory requesters, uint256 count) private pure {
        uint256 position = _skip(reader, count * TERMS_BYTES);
        reader.terms = new Terms[](count);
        for (uint256 i = 0; i < count; ++i) {
            Terms memory terms = reader.terms[i];
            terms.payer = _word(position) >> 240;
            if (terms.payer >= requesters.length) _fail(reader);
            terms.order.requester = requesters[terms.payer];
            _readShared(terms.order, position + 2);
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
        reader.seeds = new uint256[](2 * count);
        for (uint256 i = 0; i < count; ++i) {
            reader.seeds[2 * i] = _word(position);
            reader.seeds[2 * i + 1] = _field(_word(position + WORD_BYTES), 0, 64);
            position += SEED_BYTES;
        }
    }

    // --- bytes --------------------------------------------------------------------------------

    /// @dev Takes `size` bytes, which are there, and says where they start.
    function _skip(Reader memory reader, uint256 size) private pure returns (uint256 position) {
        position = reader.position;
        if (size > reader.end - position) _fail(reader);
        reader.position = position + size;
    }

    function _fail(Reader memory reader) private pure {
        revert IMarket.Market_PackedMalformed(reader.position - reader.start);
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
