// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SchedulersFixture} from "../utils/SchedulersFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice What each step costs, base and call data included; snapshots/schedulers.json holds it.
contract SchedulersGasTest is SchedulersFixture {
    function test_gas_bond() public {
        _bond(scheduler, 1e6);
        _snapshot("bond, added to");
    }

    function test_gas_leave() public {
        _giveNotice(scheduler);
        _snapshot("giveNotice");
        _pass(7 days);
        schedulers.reclaim(scheduler);
        _snapshot("reclaim");
    }

    function test_gas_slashFork() public {
        _slashFork(_assign(0, 0), _assign(0, 3));
        _snapshot("slashFork, 3 replicas");
    }

    function test_gas_slashOmission() public {
        _slashOmission(_assign(0, 0), _assign(1, 1), _operator(0));
        _snapshot("slashOmission, 3 replicas");
    }

    function test_gas_slashCommitSets() public {
        _slashCommitSets(0, keccak256("one set"), 0, keccak256("another set"));
        _snapshot("slashCommitSets");
    }

    function _snapshot(string memory name) private {
        vm.snapshotValue("schedulers", name, vm.lastCallGas().gasTotalUsed);
    }
}
