// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LeaseStatus, Terms} from "../../src/types/ServiceLeases.sol";
import {LeasesFixture} from "../utils/LeasesFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice What each step of a lease costs, base and call data included; snapshots/leases.json holds it.
/// @dev In the steady state: everybody's account and the escrow are in use.
contract LeasesGasTest is LeasesFixture {
    bytes32 private _running;

    function setUp() public override {
        super.setUp();
        _running = _start(_terms());
        _pass(60);
        leases.settle(_running);
        _pass(60);
    }

    function test_gas_start() public {
        Terms memory terms = _terms();
        terms.nonce = 2;
        _start(terms);
        _snapshot("start");
    }

    function test_gas_settle() public {
        leases.settle(_running);
        _snapshot("settle, running");
    }

    function test_gas_topUp() public {
        _topUp(_requester(0), _running, 1e6);
        _snapshot("topUp");
    }

    function test_gas_stopByOperator() public {
        _stop(_operator(0), _running);
        _snapshot("stop by the operator, paid and ended");
        assertTrue(_status(_running) == LeaseStatus.Ended, "ended");
    }

    function test_gas_stopByRequester() public {
        _stop(_requester(0), _running);
        _snapshot("stop by the requester");
    }

    function test_gas_settleOver() public {
        _pass(1 hours);
        leases.settle(_running);
        _snapshot("settle, over");
        assertTrue(_status(_running) == LeaseStatus.Ended, "ended");
    }

    function _snapshot(string memory name) private {
        vm.snapshotValue("leases", name, vm.lastCallGas().gasTotalUsed);
    }
}
