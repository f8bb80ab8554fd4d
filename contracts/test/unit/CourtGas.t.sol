// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Order, Receipt} from "../../src/types/Orders.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice What each step at the court costs, as a whole transaction; snapshots/court.json holds it.
/// @dev In the steady state: accounts, funds and pledges in use, other cases open.
contract CourtGasTest is CourtFixture {
    uint256 private constant MOST = 1 << 24; // EIP-7825

    function setUp() public override {
        super.setUp();
        _deposit(TREASURY, 1e6);
        for (uint256 i = 0; i < 40; ++i) {
            _settle(_seal(_draft(_auditable(0, 256 + i, 10_000))));
        }
        _settle(_withLiar(_order(0, 0), 0));
        _settle(_honest(1, 0));
    }

    function test_gas_enter() public {
        _settle(_withLiar(_order(0, 1), 0));
        _snapshot("settle k=3, one slashed");
        _settle(_seal(_draft(_auditable(1, 1, 100))));
        _snapshot("settle k=1, may be audited");
        Order memory order = _auditable(1, 2, 100);
        (order.replicas, order.quorum) = (3, 2);
        _settle(_seal(_draft(order)));
        _snapshot("settle k=3, may be audited");
    }

    function test_gas_appeal() public {
        Trial memory trial = _enter(_withLiar(_order(0, 1), 0));
        vm.recordLogs();
        vm.prank(_requester(2));
        court.appeal(trial.matter);
        _snapshot("appeal k=3");
        _readPanel(trial);
        _draw(trial, 0x1111111);
        _join(trial, 0, 1);
        _snapshot("join k=3, the first of seven");
        _join(trial, 1, 2);
        _snapshot("join k=3, the second");
        _join(trial, 3, 124);
        _sitOut(trial, ALL, ALL);
        _snapshot("finalize a panel of seven");
        _close(trial, 1);
        _snapshot("close k=3, upheld");
    }

    function test_gas_audit() public {
        Trial memory trial = _enter(_seal(_draft(_auditable(0, 1, 10_000))));
        _passAuditBlock(trial, "drawn");
        vm.recordLogs();
        court.audit(trial.matter);
        _snapshot("audit k=1");
        _readPanel(trial);
        _sit(trial, 0);
        _close(trial, 0);
        _snapshot("close k=1, clean audit");
    }

    function test_gas_release() public {
        Trial memory trial = _enter(_withLiar(_order(0, 1), 0));
        _pass(APPEAL_WINDOW + 1);
        court.release(trial.matter);
        _snapshot("release");
    }

    function test_gas_batch() public {
        Receipt[] memory receipts = new Receipt[](100);
        for (uint256 i = 0; i < receipts.length; ++i) {
            Order memory order = _auditable(1, 1 + i, 100);
            (order.replicas, order.quorum) = (3, 2);
            order.bond = 1e6;
            receipts[i] = _withLiar(order, i % 3);
        }
        market.settle(receipts);
        _snapshot("settle 100 of k=3, may be audited, one slashed each");
    }

    function _snapshot(string memory name) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        assertTrue(gas < MOST, "one transaction holds it");
        vm.snapshotValue("court", name, gas);
    }
}
