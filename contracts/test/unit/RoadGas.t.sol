// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Receipt} from "../../src/types/Orders.sol";
import {Commit, Entry, RoadState} from "../../src/types/Roads.sol";
import {RoadFixture} from "../utils/RoadFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice What a job of three replicas costs on the on-chain road: all of its transactions, base and call data
/// included; snapshots/road.json holds it.
/// @dev In the steady state: accounts and nonce words in use, other jobs open, seed kept.
contract RoadGasTest is RoadFixture {
    uint256 private constant GOAL = 400_000;

    function setUp() public override {
        super.setUp();
        _settle(_withLiar(_order(0, 0), 0));
        _openFixed(_honest(0, 255));
        providers.keepSeed(CLASS, seedBlock);
    }

    /// @dev The scheduler is gone after it showed the commit set: one party opens with all of it, each reveals by
    /// itself, and the last one ends the job with its reveal.
    function test_gas_fromCommits() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        uint256 gas = _used();
        for (uint256 i = 0; i < 2; ++i) {
            _reveal(receipt, 7, 1 << i);
            gas += _used();
        }
        _finalize(receipt, 7, 7);
        gas += _used();
        vm.snapshotValue("road", "k=3 opened with the commit set", gas);
        assertTrue(gas <= GOAL, "the goal");
        _assertEnded(receipt);
    }

    /// @dev Nobody has anybody's commit but its own: six transactions.
    function test_gas_alone() public {
        uint256 gas = _alone(_honest(0, 1));
        vm.snapshotValue("road", "k=3 each commits alone", gas);
    }

    function test_gas_alone_seedNotKept() public {
        _nextSeed("not kept");
        uint256 gas = _alone(_honest(0, 1));
        vm.snapshotValue("road", "k=3 each commits alone, seed not kept", gas);
    }

    function test_gas_alone_liar() public {
        uint256 gas = _alone(_withLiar(_order(0, 1), 1));
        vm.snapshotValue("road", "k=3 each commits alone, one slashed", gas);
    }

    /// @dev One is silent: one party brings everything, and comes back when time is up.
    function test_gas_oneSilent() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        uint256 gas = _used();
        _reveal(receipt, 7, 3);
        gas += _used();
        _pass(ROAD_WINDOW + 1);
        _finalize(receipt, 7, 3);
        gas += _used();
        vm.snapshotValue("road", "k=3 opened with the commit set, one silent", gas);
        _assertEnded(receipt);
    }

    function test_gas_override() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        _override(receipt, receipt, 7);
        vm.snapshotValue("road", "k=3 settle an open job", _used());
        _assertEnded(receipt);
    }

    function _alone(Receipt memory receipt) private returns (uint256 gas) {
        Commit[] memory commits = new Commit[](1);
        for (uint256 i = 0; i < 3; ++i) {
            commits[0] = _unsigned(receipt, i);
            Entry[] memory before = _entries(receipt, (1 << i) - 1);
            vm.prank(vm.addr(signerKeyOf[receipt.replicas[i].operator]));
            if (i == 0) road.open(receipt.order, receipt.requesterSig, ROUND, commits, "");
            else road.commit(receipt.order, ROUND, before, commits);
            gas += _used();
        }
        vm.warp(_deadlineOf(receipt) + 1);
        for (uint256 i = 0; i < 2; ++i) {
            _reveal(receipt, 7, 1 << i);
            gas += _used();
        }
        _finalize(receipt, 7, 7);
        gas += _used();
        _assertEnded(receipt);
    }

    function _assertEnded(Receipt memory receipt) private view {
        assertTrue(_stateOf(receipt) == RoadState.Settled, "settled");
        _assertSolvent();
    }

    function _used() private view returns (uint256) {
        return vm.lastCallGas().gasTotalUsed;
    }
}
