// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRoad} from "../../src/interfaces/IRoad.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {Commit, Entry, Opening, RoadState} from "../../src/types/Roads.sol";
import {MarketFixture} from "./MarketFixture.sol";
import {vm} from "./Vm.sol";

/// @notice Takes jobs along the on-chain road. A receipt holds what the parties of a job know, as for Market.
abstract contract RoadFixture is MarketFixture {
    uint32 internal constant ROUND = 0; // what MarketFixture makes its tags with
    uint64 internal constant ROAD_WINDOW = 2 hours;
    uint256 internal constant ALL = type(uint256).max;

    // --- what goes in -------------------------------------------------------------------------

    /// @dev The commits of the replicas in `mask`, one bit each, as signed for a scheduler.
    function _commits(Receipt memory receipt, uint256 mask) internal view returns (Commit[] memory commits) {
        bytes32 job = market.jobId(receipt.order);
        commits = new Commit[](_count(receipt, mask));
        uint256 next = 0;
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            if (mask >> i & 1 == 0) continue;
            Commit memory one = _unsigned(receipt, i);
            bytes32 digest = market.commitDigest(job, ROUND, one.rate, one.commitment);
            (one.v, one.r, one.s) = vm.sign(signerKeyOf[one.operator], digest);
            commits[next++] = one;
        }
    }

    /// @dev The commit of one replica, to be brought by its signing key.
    function _unsigned(Receipt memory receipt, uint256 i) internal view returns (Commit memory) {
        Replica memory replica = receipt.replicas[i];
        return Commit(replica.operator, replica.rate, replica.ticket, 0, _commitment(receipt, i), 0, 0);
    }

    function _entries(Receipt memory receipt, uint256 mask) internal view returns (Entry[] memory entries) {
        entries = new Entry[](_count(receipt, mask));
        uint256 next = 0;
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            if (mask >> i & 1 == 0) continue;
            Replica memory replica = receipt.replicas[i];
            entries[next++] = Entry(replica.operator, replica.ticket, replica.rate, _commitment(receipt, i));
        }
    }

    /// @dev Openings of the replicas in `mask`, in a job whose entries are those in `entered`.
    function _openings(Receipt memory receipt, uint256 entered, uint256 mask)
        internal
        pure
        returns (Opening[] memory openings)
    {
        openings = new Opening[](_count(receipt, entered & mask));
        (uint8 index, uint256 next) = (0, 0);
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            if (entered >> i & 1 == 0) continue;
            Replica memory replica = receipt.replicas[i];
            if (mask >> i & 1 == 1) {
                openings[next++] = Opening(index, replica.secs, replica.tag, replica.salt);
            }
            ++index;
        }
    }

    function _commitment(Receipt memory receipt, uint256 i) internal view returns (bytes32) {
        Replica memory replica = receipt.replicas[i];
        return market.commitment(
            market.jobId(receipt.order), replica.operator, replica.tag, replica.secs, replica.salt
        );
    }

    // --- steps --------------------------------------------------------------------------------

    function _openCall(Receipt memory receipt, uint256 mask, bytes memory setSig)
        internal
        view
        returns (bytes memory)
    {
        Commit[] memory commits = _commits(receipt, mask);
        return abi.encodeCall(IRoad.open, (receipt.order, receipt.requesterSig, ROUND, commits, setSig));
    }

    function _commitCall(Receipt memory receipt, uint256 entered, uint256 mask)
        internal
        view
        returns (bytes memory)
    {
        Entry[] memory entries = _entries(receipt, entered);
        return abi.encodeCall(IRoad.commit, (receipt.order, ROUND, entries, _commits(receipt, mask)));
    }

    function _revealCall(Receipt memory receipt, uint256 entered, uint256 mask)
        internal
        view
        returns (bytes memory)
    {
        Opening[] memory openings = _openings(receipt, entered, mask);
        bytes32 job = market.jobId(receipt.order);
        return abi.encodeCall(IRoad.reveal, (job, ROUND, _entries(receipt, entered), openings));
    }

    function _finalizeCall(Receipt memory receipt, uint256 entered, uint256 mask)
        internal
        view
        returns (bytes memory)
    {
        Opening[] memory openings = _openings(receipt, entered, mask);
        return abi.encodeCall(IRoad.finalize, (receipt.order, ROUND, _entries(receipt, entered), openings));
    }

    /// @dev Ends by `receipt` a job whose entries are those of `opened` in `entered`.
    function _settleCall(Receipt memory receipt, Receipt memory opened, uint256 entered)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(IRoad.settle, (receipt, ROUND, _entries(opened, entered)));
    }

    function _open(Receipt memory receipt, uint256 mask) internal {
        _take(_openCall(receipt, mask, ""));
    }

    /// @dev With the scheduler's signature over the commit set.
    function _openFixed(Receipt memory receipt) internal {
        _take(_openCall(receipt, ALL, _setSig(receipt, ALL)));
    }

    function _commit(Receipt memory receipt, uint256 entered, uint256 mask) internal {
        _take(_commitCall(receipt, entered, mask));
    }

    function _reveal(Receipt memory receipt, uint256 entered, uint256 mask) internal {
        _take(_revealCall(receipt, entered, mask));
    }

    function _finalize(Receipt memory receipt, uint256 entered, uint256 mask) internal {
        _take(_finalizeCall(receipt, entered, mask));
    }

    function _override(Receipt memory receipt, Receipt memory opened, uint256 entered) internal {
        _take(_settleCall(receipt, opened, entered));
    }

    /// @dev Takes a step of the road; a refusal fails the test with the contract's own reason.
    function _take(bytes memory step) internal {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(road).call(step);
        if (done) return;
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    /// @dev Refused for this reason, without any effect.
    function _assertRefused(bytes memory step, bytes memory reason) internal {
        bytes32 books = _books();
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(road).call(step);
        assertTrue(!done, "refused");
        if (keccak256(answer) != keccak256(reason)) {
            // The reason that was given tells more than that it is another.
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        assertEq(_books(), books, "nobody pays for a refusal");
    }

    function _assertRefused(bytes memory step, bytes4 reason) internal {
        _assertRefused(step, abi.encodePacked(reason));
    }

    function _setSig(Receipt memory receipt, uint256 mask) internal view returns (bytes memory) {
        bytes32 job = market.jobId(receipt.order);
        bytes memory commits;
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            if (mask >> i & 1 == 1) commits = abi.encodePacked(commits, _commitment(receipt, i));
        }
        bytes32 typehash = keccak256("CommitSet(bytes32 job,uint32 round,bytes32 commits)");
        bytes32 set = keccak256(abi.encode(typehash, job, ROUND, keccak256(commits)));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", market.domainSeparator(), set));
        return _sign(keyOf[receipt.order.scheduler], digest);
    }

    function _stateOf(Receipt memory receipt) internal view returns (RoadState) {
        return road.jobs(market.jobId(receipt.order)).state;
    }

    function _deadlineOf(Receipt memory receipt) internal view returns (uint256) {
        return road.jobs(market.jobId(receipt.order)).deadline;
    }

    function _pass(uint256 secs) internal {
        vm.warp(vm.getBlockTimestamp() + secs);
    }

    function _worstCost(Order memory order) internal pure returns (uint64) {
        return order.maxRate * order.maxSeconds * order.replicas + order.fee;
    }

    function _locked(address operator) internal view returns (uint256) {
        return _account(operator).locked;
    }

    function _count(Receipt memory receipt, uint256 mask) internal pure returns (uint256 count) {
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            count += mask >> i & 1;
        }
    }
}
