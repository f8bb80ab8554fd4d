// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {PackedFixture} from "../utils/PackedFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @notice What a transaction of settle() costs, base and call data included; snapshots/settle.json holds it.
/// @dev In the steady state: seed kept, accounts and nonce words in use, replicas in agreement.
contract SettleGasTest is PackedFixture {
    /// EIP-7825: no transaction may use more.
    uint256 private constant TRANSACTION_GAS_MAX = 1 << 24;
    uint256 private constant TRANSACTION_BYTES_MAX = 128 * 1024;

    function setUp() public override {
        super.setUp();
        providers.keepSeed(CLASS, seedBlock);
        for (uint256 i = 0; i < REQUESTERS; ++i) {
            _settle(_honest(i, 0));
        }
    }

    function test_gas_settle1() public {
        _measure("k=3 N=1", 1, 3);
    }

    function test_gas_settle10() public {
        _measure("k=3 N=10", 10, 3);
    }

    function test_gas_settle100() public {
        _measure("k=3 N=100", 100, 3);
    }

    /// @dev The largest batch of the largest jobs that fits comfortably.
    function test_gas_settle64k8() public {
        _measure("k=8 N=64", 64, 8);
    }

    function test_gas_packed1() public {
        _measurePacked("packed k=3 N=1", 1, 3, EACH);
    }

    function test_gas_packed10() public {
        _measurePacked("packed k=3 N=10", 10, 3, EACH);
    }

    function test_gas_packed100() public {
        _measurePacked("packed k=3 N=100", 100, 3, EACH);
    }

    function test_gas_packedRevealsOnce100() public {
        _measurePacked("packed, reveals signed once k=3 N=100", 100, 3, REVEALS_ONCE);
    }

    function test_gas_packedOnce1() public {
        _measurePacked("packed, all signed once k=3 N=1", 1, 3, ORDERS_ONCE | REVEALS_ONCE);
    }

    function test_gas_packedOnce10() public {
        _measurePacked("packed, all signed once k=3 N=10", 10, 3, ORDERS_ONCE | REVEALS_ONCE);
    }

    function test_gas_packedOnce100() public {
        _measurePacked("packed, all signed once k=3 N=100", 100, 3, ORDERS_ONCE | REVEALS_ONCE);
    }

    /// @dev What fits the bytes that nodes take in one transaction (128 KiB); `receipts_fitting` stays below that.
    function test_gas_packedLargest() public {
        _measurePacked("packed k=3 N=270", 270, 3, EACH);
    }

    function test_gas_packedLargest8() public {
        _measurePacked("packed k=8 N=126", 126, 8, EACH);
    }

    function _measure(string memory name, uint256 count, uint8 replicas) private {
        Receipt[] memory receipts = _receipts(count, replicas);
        vm.recordLogs();
        market.settle(receipts);
        _record(name, count);
    }

    function _measurePacked(string memory name, uint256 count, uint8 replicas, uint8 flags) private {
        bytes memory packed = _pack(_receipts(count, replicas), flags);
        assertTrue(packed.length < TRANSACTION_BYTES_MAX, "fits the pools");
        vm.recordLogs();
        market.settlePacked(packed);
        _record(name, count);
    }

    function _record(string memory name, uint256 count) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue("settle", name, gas);
        assertTrue(gas < TRANSACTION_GAS_MAX, "fits a transaction");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 settled = 0;
        for (uint256 i = 0; i < logs.length; ++i) {
            assertTrue(logs[i].topics[0] != IMarket.ReceiptSkipped.selector, "none skipped");
            if (logs[i].topics[0] == IMarket.JobSettled.selector) ++settled;
        }
        assertEq(settled, count, "all of them");
    }

    /// @dev One requester after the other, as the scheduler sorts them.
    function _receipts(uint256 count, uint8 replicas) private view returns (Receipt[] memory receipts) {
        receipts = new Receipt[](count);
        uint256 each = (count + REQUESTERS - 1) / REQUESTERS;
        for (uint256 i = 0; i < count; ++i) {
            Order memory order = _order(i / each, 1 + i % each);
            (order.replicas, order.quorum) = (replicas, replicas / 2 + 1);
            receipts[i] = _seal(_draft(order));
        }
    }
}
