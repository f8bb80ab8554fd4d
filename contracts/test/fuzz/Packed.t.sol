// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {Share} from "../../src/types/Share.sol";
import {PackedFixture} from "../utils/PackedFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @notice Random batches of good and bad receipts: every form of them settles, skips and pays the same.
contract PackedFuzzTest is PackedFixture {
    uint256 private constant KINDS = 16;
    uint256 private constant TAMPERED = 12;

    function testFuzz_eachSigned(uint256 count, uint256 kinds, uint256 change) public {
        Receipt[] memory receipts = _receipts(bound(count, 1, 5), kinds, change, KINDS);
        _assertSame(receipts, EACH);
    }

    /// @dev Who signs once signs what stands in the batch, so nothing is changed after signing here.
    function testFuzz_signedOnce(uint256 count, uint256 kinds, uint256 change, uint8 flags) public {
        Receipt[] memory receipts = _receipts(bound(count, 1, 5), kinds, change, TAMPERED);
        _assertSame(receipts, uint8(bound(flags, 1, 3)));
    }

    /// @dev Every kind of receipt once, whatever the fuzzer chose, beside a good one.
    function test_eachKind() public {
        for (uint256 kind = 0; kind < KINDS; ++kind) {
            uint256 state = vm.snapshotState();
            _assertSame(_receipts(2, kind, 7 * kind + 1, KINDS), EACH);
            vm.revertToState(state);
            if (kind >= TAMPERED) continue;
            for (uint8 flags = 1; flags < 4; ++flags) {
                state = vm.snapshotState();
                _assertSame(_receipts(2, kind, 7 * kind + 1, TAMPERED), flags);
                vm.revertToState(state);
            }
        }
    }

    // --- receipts -----------------------------------------------------------------------------

    /// @param kinds For each receipt 8 bits.
    function _receipts(uint256 count, uint256 kinds, uint256 change, uint256 kindsMax)
        private
        view
        returns (Receipt[] memory receipts)
    {
        receipts = new Receipt[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 kind = (kinds >> 8 * i & 0xff) % kindsMax;
            receipts[i] = _receipt(kind, i, uint256(keccak256(abi.encode(change, i))));
        }
    }

    function _receipt(uint256 kind, uint256 i, uint256 change) private view returns (Receipt memory receipt) {
        Order memory order = _order(change % REQUESTERS, 250 + i); // some in the next word of nonces
        order.replicas = uint8(1 + change / 8 % 8);
        order.quorum = order.replicas / 2 + 1;
        order.auditBps = uint16(change % 10_001);
        order.escalate = change % 2 == 0;
        if (kind == 1) order.expiry = uint64(vm.getBlockTimestamp() - 1);
        if (kind == 2) order.expiry = uint64(vm.getBlockTimestamp() + 13 hours);
        if (kind == 3) order.auditBps = uint16(10_001 + change % 1000);
        if (kind == 4) order.nonce = 0; // every receipt of this kind and requester has it
        if (kind == 5) order.fee = BUDGET + uint64(change % 1000);
        if (kind == 6) (order.maxRate, order.maxSeconds) = (type(uint64).max, type(uint32).max);
        receipt = _draft(order);
        uint256 last = order.replicas - 1;
        Replica memory replica = receipt.replicas[change / 64 % order.replicas];
        if (kind == 6) (replica.rate, replica.secs) = (type(uint64).max, type(uint32).max);
        if (kind == 7) replica.rate = order.maxRate + 1;
        if (kind == 8) replica.operator = receipt.replicas[(change / 64 + 1) % order.replicas].operator;
        if (kind == 9) replica.ticket = receipt.replicas[last].ticket;
        if (kind == 10) replica.ticket = order.maxTicket + 1;
        // Mostly liars: quorums form and fail.
        if (kind == 11) {
            for (uint256 n = 0; n <= last; ++n) {
                receipt.replicas[n].tag = bytes32(change >> 8 * n & 3);
                receipt.replicas[n].secs = uint32(change >> 16 + 24 * n);
            }
        }
        receipt = _seal(receipt);
        if (kind == 12) receipt.requesterSig = _sign(keyOf[scheduler], bytes32(change));
        if (kind == 13) receipt.replicas[0].sig = _sign(keyOf[scheduler], market.jobId(order));
        if (kind == 14) receipt.replicas[last].sig = new bytes(change % 70);
        if (kind == 15 && order.replicas >= 3) _tamper(receipt, change / 64 % 25, change);
    }

    // --- sameness -----------------------------------------------------------------------------

    function _assertSame(Receipt[] memory receipts, uint8 flags) private {
        bytes memory packed = _pack(receipts, flags);
        uint256 state = vm.snapshotState();
        vm.recordLogs();
        market.settle(receipts);
        (bytes32 jobs, bytes32 operators, uint256 count) = _digest(vm.getRecordedLogs());
        bytes32 books = _books();
        assertEq(count, receipts.length, "each settled or skipped");
        vm.revertToState(state);

        vm.recordLogs();
        market.settlePacked(packed);
        (bytes32 packedJobs, bytes32 packedOperators,) = _digest(vm.getRecordedLogs());
        assertEq(packedJobs, jobs, "the same jobs in the same order, with the same shares or reason");
        assertEq(packedOperators, operators, "the same sums for the same operators");
        assertEq(_books(), books, "the same books");
        _assertSolvent();
    }

    /// @dev Market's and Court's logs in their order, and the Vault's in any: operators' places differ between the forms.
    function _digest(Vm.Log[] memory logs)
        private
        view
        returns (bytes32 jobs, bytes32 operators, uint256 count)
    {
        for (uint256 i = 0; i < logs.length; ++i) {
            Vm.Log memory log = logs[i];
            if (log.emitter == address(vault)) {
                assertEq(log.topics[0], IVault.OperatorSettled.selector, "the vault's one event");
                operators ^= keccak256(abi.encode(log.topics, log.data));
            } else {
                if (log.emitter == address(market)) ++count;
                jobs = keccak256(abi.encode(jobs, log.topics, _withoutPlaces(log)));
            }
        }
    }

    function _withoutPlaces(Vm.Log memory log) private view returns (bytes memory) {
        bool whole = log.emitter == address(court) || log.topics[0] == IMarket.ReceiptSkipped.selector;
        if (whole) return log.data;
        bytes32 vote;
        Share[] memory shares;
        if (log.topics[0] == IMarket.JobSettled.selector) {
            (vote, shares) = abi.decode(log.data, (bytes32, Share[]));
        } else {
            shares = abi.decode(log.data, (Share[]));
        }
        for (uint256 n = 0; n < shares.length; ++n) {
            shares[n] = Share.wrap(Share.unwrap(shares[n]) << 24 >> 24);
        }
        return abi.encode(vote, shares);
    }
}
