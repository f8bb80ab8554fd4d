// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @notice What a transaction of settle() costs, base and call data included; snapshots/settle.json holds it.
/// @dev In the steady state: seed kept, accounts and nonce words in use, replicas in agreement.
contract SettleGasTest is MarketFixture {
    /// EIP-7825: no transaction may use more.
    uint256 private constant TRANSACTION_GAS_MAX = 1 << 24;

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

    function _measure(string memory name, uint256 count, uint8 replicas) private {
        Receipt[] memory receipts = new Receipt[](count);
        for (uint256 i = 0; i < count; ++i) {
            Order memory order = _order(i % REQUESTERS, 1 + i / REQUESTERS);
            (order.replicas, order.quorum) = (replicas, replicas / 2 + 1);
            receipts[i] = _seal(_draft(order));
        }
        vm.recordLogs();
        market.settle(receipts);
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        vm.snapshotValue("settle", name, gas);
        assertTrue(gas < TRANSACTION_GAS_MAX, "fits a transaction");

        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, count * (replicas + 1), "all of them");
        for (uint256 i = 0; i < logs.length; ++i) {
            assertTrue(logs[i].topics[0] != IMarket.ReceiptSkipped.selector, "none skipped");
        }
    }
}
