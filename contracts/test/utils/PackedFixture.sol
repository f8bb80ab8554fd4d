// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TypedData} from "../../src/libraries/TypedData.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// @notice Writes the packed form of receipts, in the plainest way there is.
abstract contract PackedFixture is MarketFixture {
    uint8 internal constant EACH = 0;
    uint8 internal constant ORDERS_ONCE = 1;
    uint8 internal constant REVEALS_ONCE = 2;

    /// @dev What receipts share. Parties rise; terms and seeds stand in the order of their first use.
    struct Tables {
        address[] requesters;
        bytes[] terms;
        bytes[] seeds;
        address[] operators;
    }

    function _pack(Receipt[] memory receipts) internal view returns (bytes memory) {
        return _pack(receipts, EACH);
    }

    function _pack(Receipt[] memory receipts, uint8 flags) internal view returns (bytes memory) {
        Tables memory tables = _tables(receipts);
        bytes memory parties = abi.encodePacked(
            _requesterTable(receipts, tables, flags),
            _join(tables.terms),
            _join(tables.seeds),
            _operatorTable(receipts, tables, flags)
        );
        bytes memory body;
        uint256 replicas = 0;
        for (uint256 i = 0; i < receipts.length; ++i) {
            replicas += receipts[i].replicas.length;
            body = bytes.concat(body, _packReceipt(receipts[i], tables, flags));
        }
        return abi.encodePacked(_head(tables, flags, receipts.length, replicas), parties, body);
    }

    function _head(Tables memory tables, uint8 flags, uint256 receipts, uint256 replicas)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encodePacked(
            uint8(1),
            flags,
            uint16(tables.requesters.length),
            uint16(tables.terms.length),
            uint16(tables.seeds.length),
            uint16(tables.operators.length),
            uint16(receipts),
            uint16(replicas)
        );
    }

    // --- tables -------------------------------------------------------------------------------

    function _tables(Receipt[] memory receipts) internal pure returns (Tables memory tables) {
        for (uint256 i = 0; i < receipts.length; ++i) {
            Receipt memory receipt = receipts[i];
            tables.requesters = _insert(tables.requesters, receipt.order.requester);
            for (uint256 n = 0; n < receipt.replicas.length; ++n) {
                tables.operators = _insert(tables.operators, receipt.replicas[n].operator);
            }
        }
        for (uint256 i = 0; i < receipts.length; ++i) {
            tables.terms = _append(tables.terms, _terms(receipts[i].order, tables));
            tables.seeds = _append(tables.seeds, _seed(receipts[i].order));
        }
    }

    function _terms(Order memory order, Tables memory tables) internal pure returns (bytes memory) {
        return abi.encodePacked(
            _place(tables.requesters, order.requester),
            order.scheduler,
            order.fee,
            order.maxSeconds,
            order.maxRate,
            order.bond,
            abi.encodePacked(order.replicas, order.quorum, order.maxTicket),
            order.commitWindow,
            order.revealWindow,
            order.auditBps,
            order.escalate,
            uint248(order.nonce >> 8)
        );
    }

    function _seed(Order memory order) internal pure returns (bytes memory) {
        return abi.encodePacked(order.hardwareClass, order.seedBlock);
    }

    function _requesterTable(Receipt[] memory receipts, Tables memory tables, uint8 flags)
        internal
        view
        returns (bytes memory table)
    {
        for (uint256 i = 0; i < tables.requesters.length; ++i) {
            table = abi.encodePacked(table, tables.requesters[i]);
            if (flags & ORDERS_ONCE == 0) continue;
            uint256[] memory hashes = _ordersOf(receipts, tables.requesters[i]);
            bytes memory signature = _sign(keyOf[tables.requesters[i]], market.ordersDigest(hashes));
            table = abi.encodePacked(table, uint16(hashes.length), _compact(signature));
        }
    }

    function _operatorTable(Receipt[] memory receipts, Tables memory tables, uint8 flags)
        internal
        view
        returns (bytes memory table)
    {
        for (uint256 i = 0; i < tables.operators.length; ++i) {
            table = abi.encodePacked(table, tables.operators[i]);
            if (flags & REVEALS_ONCE == 0) continue;
            uint256[] memory hashes = _revealsOf(receipts, tables.operators[i]);
            bytes memory signature = _sign(signerKeyOf[tables.operators[i]], market.revealsDigest(hashes));
            table = abi.encodePacked(table, uint16(hashes.length), _compact(signature));
        }
    }

    // --- receipts -----------------------------------------------------------------------------

    function _packReceipt(Receipt memory receipt, Tables memory tables, uint8 flags)
        internal
        pure
        returns (bytes memory packed)
    {
        Order memory order = receipt.order;
        Replica[] memory replicas = receipt.replicas;
        bytes32 tag = replicas.length == 0 ? bytes32(0) : replicas[0].tag;
        uint8 ownTags = 0;
        for (uint256 i = 0; i < replicas.length; ++i) {
            if (replicas[i].tag != tag) ownTags |= uint8(1 << i);
        }
        packed = abi.encodePacked(
            _place(tables.terms, _terms(order, tables)),
            _place(tables.seeds, _seed(order)),
            uint8(replicas.length),
            ownTags,
            uint8(order.nonce),
            order.expiry,
            order.spec,
            tag
        );
        if (flags & ORDERS_ONCE == 0) packed = bytes.concat(packed, _compact(receipt.requesterSig));
        for (uint256 i = 0; i < replicas.length; ++i) {
            Replica memory replica = replicas[i];
            packed = abi.encodePacked(
                packed,
                _place(tables.operators, replica.operator),
                replica.ticket,
                replica.secs,
                replica.rate,
                replica.salt
            );
            if (replica.tag != tag) packed = abi.encodePacked(packed, replica.tag);
            if (flags & REVEALS_ONCE == 0) packed = bytes.concat(packed, _compact(replica.sig));
        }
    }

    /// @dev EIP-2098; zeros for what is not a signature.
    function _compact(bytes memory signature) internal pure returns (bytes memory) {
        if (signature.length != 65) return new bytes(64);
        (bytes32 r, bytes32 s, uint8 v) = _parts(signature);
        if ((v != 27 && v != 28) || uint256(s) > HALF_ORDER) return new bytes(64);
        return abi.encodePacked(r, uint256(s) | uint256(v - 27) << 255);
    }

    function _parts(bytes memory signature) internal pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
    }

    // --- what is signed once ------------------------------------------------------------------

    function _ordersOf(Receipt[] memory receipts, address requester)
        internal
        pure
        returns (uint256[] memory hashes)
    {
        for (uint256 i = 0; i < receipts.length; ++i) {
            if (receipts[i].order.requester != requester) continue;
            hashes = _push(hashes, keccak256(abi.encode(TypedData.ORDER_TYPEHASH, receipts[i].order)));
        }
    }

    function _revealsOf(Receipt[] memory receipts, address operator)
        internal
        view
        returns (uint256[] memory hashes)
    {
        for (uint256 i = 0; i < receipts.length; ++i) {
            bytes32 job = market.jobId(receipts[i].order);
            bytes32 commits = _commitSet(receipts[i], job);
            for (uint256 n = 0; n < receipts[i].replicas.length; ++n) {
                Replica memory replica = receipts[i].replicas[n];
                if (replica.operator != operator) continue;
                hashes = _push(
                    hashes, TypedData.hashReveal(job, commits, replica.tag, replica.rate, replica.secs)
                );
            }
        }
    }

    // --- lists --------------------------------------------------------------------------------

    function _push(uint256[] memory list, bytes32 item) internal pure returns (uint256[] memory longer) {
        longer = new uint256[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = uint256(item);
    }

    function _insert(address[] memory list, address item) internal pure returns (address[] memory longer) {
        uint256 place = 0;
        while (place < list.length && list[place] < item) ++place;
        if (place < list.length && list[place] == item) return list;
        longer = new address[](list.length + 1);
        for (uint256 i = 0; i < longer.length; ++i) {
            longer[i] = i == place ? item : list[i < place ? i : i - 1];
        }
    }

    function _append(bytes[] memory list, bytes memory item) internal pure returns (bytes[] memory longer) {
        for (uint256 i = 0; i < list.length; ++i) {
            if (keccak256(list[i]) == keccak256(item)) return list;
        }
        longer = new bytes[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = item;
    }

    function _place(address[] memory list, address item) internal pure returns (uint16 place) {
        while (list[place] != item) ++place;
    }

    function _place(bytes[] memory list, bytes memory item) internal pure returns (uint16 place) {
        while (keccak256(list[place]) != keccak256(item)) ++place;
    }

    function _join(bytes[] memory list) internal pure returns (bytes memory joined) {
        for (uint256 i = 0; i < list.length; ++i) {
            joined = bytes.concat(joined, list[i]);
        }
    }
}
