// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {PackedFixture} from "../utils/PackedFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @dev See Packed.tree. The places of one receipt of three replicas, each signature beside its part.
contract PackedTest is PackedFixture {
    uint256 private constant REQUESTERS_AT = 14;
    uint256 private constant TERMS_AT = 34;
    uint256 private constant ESCALATE_AT = 97;
    uint256 private constant OPERATORS_AT = 169;
    uint256 private constant RECEIPT_AT = 229;
    uint256 private constant COUNT_AT = 233;
    uint256 private constant OWN_TAGS_AT = 234;
    uint256 private constant VOTE_AT = 372;
    uint256 private constant LENGTH = 705;

    // --- an honest receipt --------------------------------------------------------------------

    function test_settles() public {
        bytes memory packed = _packOne();
        assertEq(packed.length, LENGTH, "as the places above say");
        assertEq(_settlePacked(packed), 1, "settled");
        assertEq(_account(_operatorIn(packed, 0)).wins, 1, "a win");
        _assertSolvent();
    }

    /// @dev Every byte is signed, or says where what is signed stands.
    function test_anyByte() public {
        bytes memory packed = _packOne();
        for (uint256 i = 0; i < LENGTH; ++i) {
            _assertWorthless(_poke(packed, i, uint8(packed[i]) ^ 1));
            _assertWorthless(_poke(packed, i, uint8(packed[i]) ^ 0x80));
        }
        assertEq(_settlePacked(packed), 1, "as it was it settles");
    }

    function testFuzz_bytes(uint256 position, uint8 value, uint256 position2, uint8 value2) public {
        bytes memory packed = _packOne();
        bytes memory changed = _poke(packed, bound(position, 0, LENGTH - 1), value);
        changed = _poke(changed, bound(position2, 0, LENGTH - 1), value2);
        vm.assume(keccak256(changed) != keccak256(packed));
        _assertWorthless(changed);
    }

    /// @dev Whoever comes first: all six orders of three times.
    function test_median() public {
        uint32[3] memory secs = [uint32(300), 307, 314];
        for (uint256 n = 0; n < 6; ++n) {
            Receipt memory receipt = _draft(_order(0, n));
            (uint256 first, uint256 second) = (n % 3, (n % 3 + 1 + n / 3) % 3);
            receipt.replicas[0].secs = secs[first];
            receipt.replicas[1].secs = secs[second];
            receipt.replicas[2].secs = secs[3 - first - second];
            Vm.Log[] memory logs = _logsOf(_pack(_batch(_seal(receipt))));
            assertTrue(logs[logs.length - 1].topics[0] == IMarket.JobSettled.selector, "settled");
            (bytes32 vote,) = abi.decode(logs[logs.length - 1].data, (bytes32, uint256[]));
            assertEq(uint32(uint256(vote)), 307, "the middle one");
        }
    }

    /// @dev Even where the address that a high s recovers to is the registered key.
    function test_signature_highS() public {
        Order memory order = _order(0, 1);
        order.expiry += 1 days;
        Receipt memory receipt = _seal(_draft(order));
        Replica memory replica = receipt.replicas[0];
        bytes32 job = market.jobId(order);
        bytes32 digest =
            market.revealDigest(job, _commitSet(receipt, job), replica.tag, replica.rate, replica.secs);
        (bytes32 r,,) = _parts(replica.sig);
        address signer = ecrecover(digest, 27, r, bytes32(HALF_ORDER + 1));
        assertTrue(signer != address(0), "somebody");
        vm.prank(replica.operator);
        providers.setSigner(signer);
        bytes memory packed = _pack(_batch(receipt));
        uint256 s = 32 + VOTE_AT + 47 + 32;
        assembly ("memory-safe") {
            mstore(add(packed, s), add(HALF_ORDER, 1))
        }
        vm.warp(vm.getBlockTimestamp() + 1 days);
        assertTrue(providers.isSigner(replica.operator, signer), "its key by now");
        Vm.Log[] memory logs = _logsOf(packed);
        assertEq(_skippedFor(logs, IMarket.Market_RevealSignatureInvalid.selector), 1, "not signed");
    }

    /// @dev Each claim names the key that signed for it: one that is not the operator's spoils its own job only.
    function test_signature_twoKeys() public {
        Receipt[] memory receipts = new Receipt[](3);
        (receipts[0], receipts[1], receipts[2]) = (_honest(0, 1), _honest(0, 2), _honest(0, 3));
        address operator = receipts[1].replicas[2].operator;
        uint256 key = signerKeyOf[operator];
        signerKeyOf[operator] = 0x7777;
        receipts[1] = _seal(receipts[1]);
        signerKeyOf[operator] = key;
        Vm.Log[] memory logs = _logsOf(_pack(receipts));
        assertEq(_skippedFor(logs, IMarket.Market_SignerNotRegistered.selector), 1, "the second");
        assertEq(_countOf(logs, IMarket.JobSettled.selector), 2, "not the others");
    }

    // --- malformed bytes ----------------------------------------------------------------------

    function test_malformed_cut() public {
        bytes memory packed = _packOne();
        for (uint256 length = 0; length < LENGTH; ++length) {
            _assertRefused(_cut(packed, length));
        }
    }

    function test_malformed_longer() public {
        bytes memory packed = bytes.concat(_packOne(), hex"00");
        vm.expectRevert(abi.encodeWithSelector(IMarket.Market_PackedMalformed.selector, LENGTH));
        market.settlePacked(packed);
    }

    function test_malformed_version() public {
        bytes memory packed = _poke(_packOne(), 0, 2);
        vm.expectRevert(abi.encodeWithSelector(IMarket.Market_PackedUnknownVersion.selector, 2));
        market.settlePacked(packed);
    }

    function test_malformed_flags() public {
        _assertMalformed(_poke(_packOne(), 1, 4));
    }

    function test_malformed_places() public {
        bytes memory packed = _packOne();
        _assertMalformed(_poke(packed, TERMS_AT + 1, 1)); // the requester of the terms
        _assertMalformed(_poke(packed, RECEIPT_AT + 1, 1)); // the terms
        _assertMalformed(_poke(packed, RECEIPT_AT + 3, 1)); // the seed
        _assertMalformed(_poke(packed, VOTE_AT + 1, 3)); // the operator
    }

    /// @dev An operator with two places would have two votes.
    function test_malformed_parties() public {
        bytes memory packed = _packOne();
        bytes memory twice = _packOne();
        for (uint256 i = 0; i < 20; ++i) {
            twice[OPERATORS_AT + 20 + i] = packed[OPERATORS_AT + i];
        }
        _assertMalformed(twice);
        _assertMalformed(_poke(packed, OPERATORS_AT, 0xff)); // falling
    }

    function test_malformed_escalate() public {
        _assertMalformed(_poke(_packOne(), ESCALATE_AT, 2));
    }

    function test_malformed_tags() public {
        bytes memory packed = _packOne();
        _assertMalformed(_poke(packed, OWN_TAGS_AT, 1)); // the first has the receipt's
        _assertMalformed(_poke(packed, OWN_TAGS_AT, 8)); // of a fourth
        Receipt memory receipt = _withLiar(_order(0, 1), 2);
        packed = _pack(_batch(receipt));
        uint256 own = VOTE_AT + 2 * 111 + 47;
        for (uint256 i = 0; i < 32; ++i) {
            packed[own + i] = receipt.replicas[0].tag[i];
        }
        _assertMalformed(packed); // its own is the first's
    }

    function test_malformed_replicas() public {
        bytes memory packed = _packOne();
        _assertMalformed(_poke(packed, COUNT_AT, 9)); // more than any job has
        _assertMalformed(_poke(packed, COUNT_AT, 4)); // more than the header says
        _assertMalformed(_poke(packed, 13, 4)); // fewer than the header says
    }

    function test_malformed_second() public {
        Receipt[] memory receipts = new Receipt[](2);
        (receipts[0], receipts[1]) = (_honest(0, 1), _honest(0, 2));
        bytes memory packed = _pack(receipts);
        bytes32 books = _books();
        _assertMalformed(_cut(packed, packed.length - 1));
        assertEq(_books(), books, "nothing moved");
        assertTrue(!vault.nonceUsed(_requester(0), 1), "the first neither");
        assertEq(_settlePacked(packed), 2, "whole it settles");
    }

    // --- signed once --------------------------------------------------------------------------

    function test_once_settles() public {
        bytes memory packed = _pack(_receipts(8), ORDERS_ONCE | REVEALS_ONCE);
        assertEq(_settlePacked(packed), 8, "all");
        _assertSolvent();
    }

    function test_once_formerSigner() public {
        Receipt[] memory receipts = _receipts(4);
        address operator = receipts[0].replicas[0].operator;
        bytes memory packed = _pack(receipts, REVEALS_ONCE);
        vm.prank(operator);
        providers.setSigner(vm.addr(0x7777));
        assertEq(_settlePacked(packed), 4, "the old key is still in effect");
    }

    function test_once_requesterSignature() public {
        Receipt[] memory receipts = _receipts(8);
        (uint256 key, uint256 hers) = (keyOf[_requester(1)], 0);
        keyOf[_requester(1)] = 0x7777;
        bytes memory packed = _pack(receipts, ORDERS_ONCE | REVEALS_ONCE);
        keyOf[_requester(1)] = key;
        for (uint256 i = 0; i < 8; ++i) {
            if (receipts[i].order.requester == _requester(1)) ++hers;
        }
        assertEq(hers, 2, "she ordered two");
        Vm.Log[] memory logs = _logsOf(packed);
        assertEq(_countOf(logs, IMarket.JobSettled.selector), 6, "the others' are settled");
        assertEq(_skippedFor(logs, IMarket.Market_RequesterSignatureInvalid.selector), 2, "hers are not");
        assertEq(_budget(1), BUDGET, "and cost her nothing");
        _assertSolvent();
    }

    function test_once_revealSignature() public {
        Receipt[] memory receipts = _receipts(8);
        address operator = receipts[0].replicas[1].operator;
        uint256 key = signerKeyOf[operator];
        signerKeyOf[operator] = 0x7777;
        bytes memory packed = _pack(receipts, ORDERS_ONCE | REVEALS_ONCE);
        signerKeyOf[operator] = key;
        uint256 its = 0;
        for (uint256 i = 0; i < 8; ++i) {
            if (_sits(receipts[i].replicas, 3, operator)) ++its;
        }
        Vm.Log[] memory logs = _logsOf(packed);
        assertEq(_countOf(logs, IMarket.JobSettled.selector), 8 - its, "the others are settled");
        assertEq(_skippedFor(logs, IMarket.Market_SignerNotRegistered.selector), its, "its are not");
        assertEq(_account(operator).wins, 0, "nothing for it");
        _assertSolvent();
    }

    /// @dev Jobs that are not plain go another way, by the same keys.
    function test_once_contested() public {
        Receipt[] memory receipts = new Receipt[](4);
        for (uint256 i = 0; i < 4; ++i) {
            receipts[i] = _withLiar(_order(i, 1), i % 3);
        }
        // The last of the table: each replica answers for its own key, and not for the first.
        address operator = receipts[0].replicas[0].operator;
        for (uint256 i = 1; i < 3; ++i) {
            address other = receipts[0].replicas[i].operator;
            if (other > operator) operator = other;
        }
        uint256 key = signerKeyOf[operator];
        signerKeyOf[operator] = 0x7777;
        bytes memory packed = _pack(receipts, ORDERS_ONCE | REVEALS_ONCE);
        signerKeyOf[operator] = key;
        uint256 its = 0;
        for (uint256 i = 0; i < 4; ++i) {
            if (_sits(receipts[i].replicas, 3, operator)) ++its;
        }
        Vm.Log[] memory logs = _logsOf(packed);
        assertEq(_countOf(logs, IMarket.JobSettled.selector), 4 - its, "the others are settled");
        assertEq(_skippedFor(logs, IMarket.Market_SignerNotRegistered.selector), its, "its are not");
        _assertSolvent();
    }

    function test_once_counts() public {
        Receipt[] memory receipts = _batch(_honest(0, 1));
        bytes memory packed = _pack(receipts, ORDERS_ONCE);
        _assertMalformed(_poke(packed, REQUESTERS_AT + 21, 2)); // one hash is missing
        packed = _poke(packed, REQUESTERS_AT + 21, 0);
        vm.expectRevert(
            abi.encodeWithSelector(IMarket.Market_PackedTooManyFor.selector, receipts[0].order.requester)
        );
        market.settlePacked(packed);
    }

    /// @dev A list is signed in the order in which the parts stand in the batch.
    function test_once_order() public {
        Receipt[] memory receipts = new Receipt[](2);
        (receipts[0], receipts[1]) = (_honest(0, 1), _honest(0, 2));
        bytes memory signed = _pack(receipts, ORDERS_ONCE);
        (receipts[0], receipts[1]) = (receipts[1], receipts[0]);
        bytes memory swapped = _pack(receipts, ORDERS_ONCE);
        // The old signature over the new order.
        for (uint256 i = 0; i < 64; ++i) {
            swapped[REQUESTERS_AT + 22 + i] = signed[REQUESTERS_AT + 22 + i];
        }
        Vm.Log[] memory logs = _logsOf(swapped);
        assertEq(_skippedFor(logs, IMarket.Market_RequesterSignatureInvalid.selector), 2, "both are skipped");
    }

    /// @dev Signed for two jobs, one of them alone is worth nothing.
    function test_once_otherBatch() public {
        Receipt[] memory receipts = new Receipt[](2);
        (receipts[0], receipts[1]) = (_honest(0, 1), _honest(0, 2));
        bytes memory signed = _pack(receipts, ORDERS_ONCE);
        bytes memory alone = _pack(_batch(receipts[0]), ORDERS_ONCE);
        for (uint256 i = 0; i < 64; ++i) {
            alone[REQUESTERS_AT + 22 + i] = signed[REQUESTERS_AT + 22 + i];
        }
        assertEq(_settlePacked(alone), 0, "not settled");
    }

    function test_once_otherChain() public {
        bytes memory packed = _pack(_receipts(4), ORDERS_ONCE | REVEALS_ONCE);
        vm.chainId(1);
        assertEq(_settlePacked(packed), 0, "another domain");
    }

    // --- internals ----------------------------------------------------------------------------

    function _receipts(uint256 count) private view returns (Receipt[] memory receipts) {
        receipts = new Receipt[](count);
        for (uint256 i = 0; i < count; ++i) {
            receipts[i] = _honest(i % REQUESTERS, 1 + i / REQUESTERS);
        }
    }

    function _packOne() private view returns (bytes memory) {
        return _pack(_batch(_honest(0, 1)));
    }

    function _operatorIn(bytes memory packed, uint256 place) private pure returns (address operator) {
        uint256 from = 32 + OPERATORS_AT + 20 * place;
        assembly ("memory-safe") {
            operator := shr(96, mload(add(packed, from)))
        }
    }

    function _poke(bytes memory packed, uint256 position, uint8 value) private pure returns (bytes memory) {
        bytes memory changed = bytes.concat(packed);
        changed[position] = bytes1(value);
        return changed;
    }

    function _cut(bytes memory packed, uint256 length) private pure returns (bytes memory) {
        bytes memory head = bytes.concat(packed);
        assembly ("memory-safe") {
            mstore(head, length)
        }
        return head;
    }

    function _logsOf(bytes memory packed) private returns (Vm.Log[] memory) {
        vm.recordLogs();
        market.settlePacked(packed);
        return vm.getRecordedLogs();
    }

    function _settlePacked(bytes memory packed) private returns (uint256 settled) {
        return _countOf(_logsOf(packed), IMarket.JobSettled.selector);
    }

    function _countOf(Vm.Log[] memory logs, bytes32 topic) private pure returns (uint256 count) {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == topic) ++count;
        }
    }

    function _skippedFor(Vm.Log[] memory logs, bytes4 reason) private pure returns (uint256 count) {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IMarket.ReceiptSkipped.selector) continue;
            if (abi.decode(logs[i].data, (bytes4)) == reason) ++count;
        }
    }

    /// @dev Refused whole, or skipped: in no case does anything move.
    function _assertWorthless(bytes memory packed) private {
        bytes32 books = _books();
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(market).call(abi.encodeCall(IMarket.settlePacked, packed));
        assertTrue(done || _isOfTheForm(answer), "a reason of ours");
        assertEq(_books(), books, "nothing moved");
        assertTrue(!vault.nonceUsed(_requester(0), 1), "the nonce is there");
    }

    function _assertRefused(bytes memory packed) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(market).call(abi.encodeCall(IMarket.settlePacked, packed));
        assertTrue(!done && _isOfTheForm(answer), "refused with a reason");
    }

    function _isOfTheForm(bytes memory answer) private pure returns (bool) {
        bytes4 selector = bytes4(answer);
        return selector == IMarket.Market_PackedMalformed.selector
            || selector == IMarket.Market_PackedUnknownVersion.selector
            || selector == IMarket.Market_PackedTooManyFor.selector;
    }

    function _assertMalformed(bytes memory packed) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(market).call(abi.encodeCall(IMarket.settlePacked, packed));
        assertTrue(!done, "refused");
        assertTrue(bytes4(answer) == IMarket.Market_PackedMalformed.selector, "as malformed");
    }
}
