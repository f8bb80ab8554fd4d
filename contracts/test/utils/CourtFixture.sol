// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {CaseState, Matter, Panel, PanelKind} from "../../src/types/Courts.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {Entry, Opening} from "../../src/types/Roads.sol";
import {Share, ShareKind} from "../../src/types/Share.sol";
import {RoadFixture} from "./RoadFixture.sol";
import {Vm, vm} from "./Vm.sol";

/// @notice Takes decided jobs to the court.
abstract contract CourtFixture is RoadFixture {
    /// @dev All that the parties know of a job that came to the court.
    struct Trial {
        Receipt receipt;
        Matter matter;
        Panel panel;
        /// The panel's own order and votes, as a receipt of them would be.
        Receipt sitting;
    }

    uint256 internal constant APPEAL_WINDOW = 1 days;
    uint256 internal constant PROOF_WINDOW = 12 hours;
    uint256 internal constant HORIZON = 12 hours;
    uint256 internal constant ROUNDS = 256;

    // --- jobs come in -------------------------------------------------------------------------

    /// @dev Settles a receipt that the court must hear of.
    function _enter(Receipt memory receipt) internal returns (Trial memory trial) {
        vm.recordLogs();
        _settle(receipt);
        return _trialOf(receipt);
    }

    /// @dev The same by the on-chain road, with everybody speaking.
    function _enterByRoad(Receipt memory receipt) internal returns (Trial memory trial) {
        _openFixed(receipt);
        vm.recordLogs();
        _finalize(receipt, ALL, ALL);
        return _trialOf(receipt);
    }

    /// @dev What a follower reads from the logs since `vm.recordLogs`.
    function _trialOf(Receipt memory receipt) internal returns (Trial memory trial) {
        Vm.Log memory log = _logOf(ICourt.JobEntered.selector);
        assertEq(log.topics[1], market.jobId(receipt.order), "the job that entered");
        trial.receipt = receipt;
        trial.matter.order = receipt.order;
        trial.matter.enteredIn = uint64(vm.getBlockNumber());
        bytes32 commits;
        (commits, trial.matter.shares) = abi.decode(log.data, (bytes32, Share[]));
        uint256 count = trial.matter.shares.length;
        trial.matter.commitments = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            trial.matter.commitments[i] = _commitment(receipt, i);
        }
        assertEq(keccak256(abi.encodePacked(trial.matter.commitments)), commits, "its commitments");
    }

    // --- panels are called --------------------------------------------------------------------

    function _appeal(Trial memory trial, address payer) internal {
        vm.recordLogs();
        vm.prank(payer);
        court.appeal(trial.matter);
        _readPanel(trial);
    }

    function _audit(Trial memory trial) internal {
        vm.recordLogs();
        court.audit(trial.matter);
        _readPanel(trial);
    }

    function _escalate(Trial memory trial) internal {
        vm.recordLogs();
        court.escalate(trial.matter);
        _readPanel(trial);
    }

    function _readPanel(Trial memory trial) internal {
        Vm.Log memory log = _logOf(ICourt.PanelCalled.selector);
        Panel memory panel = trial.panel;
        (panel.kind, panel.payer, panel.seedBlock, panel.expiry) =
            abi.decode(log.data, (PanelKind, address, uint64, uint64));
        assertEq(log.topics[1], market.jobId(trial.receipt.order), "the job that is run again");
        trial.sitting.order = court.panelOrder(trial.matter.order, panel);
        assertEq(log.topics[2], market.jobId(trial.sitting.order), "the panel's job");
    }

    // --- panels sit ---------------------------------------------------------------------------

    /// @dev The chain comes to the panel's seed block, and the drawn operators' votes are made: each hex digit of
    /// `answers` is one's output, the first drawn's lowest.
    function _draw(Trial memory trial, uint256 answers) internal {
        uint64 number = trial.panel.seedBlock;
        vm.roll(number + 1);
        vm.setBlockhash(number, keccak256(abi.encode("panel", number, trial.sitting.order.nonce)));
        Order memory order = trial.sitting.order;
        bytes32 job = market.jobId(order);
        address[] memory drawn = providers.draw(order.hardwareClass, order.seedBlock, job, order.maxTicket);
        Replica[] memory replicas = new Replica[](order.replicas);
        uint256 found = 0;
        for (uint256 ticket = 0; found < order.replicas && ticket < drawn.length; ++ticket) {
            if (_sits(replicas, found, drawn[ticket]) || _hasPart(trial, drawn[ticket])) continue;
            replicas[found] = Replica({
                operator: drawn[ticket],
                rate: uint64(900 + found),
                ticket: uint8(ticket),
                secs: uint32(290 + found),
                tag: _answer(job, answers >> 4 * found & 15),
                salt: keccak256(abi.encode("salt", job, found)),
                sig: ""
            });
            ++found;
        }
        assembly ("memory-safe") {
            mstore(replicas, found)
        }
        trial.sitting.replicas = replicas;
    }

    function _hasPart(Trial memory trial, address operator) internal pure returns (bool) {
        for (uint256 i = 0; i < trial.matter.shares.length; ++i) {
            if (trial.matter.shares[i].operatorOf() == operator) return true;
        }
        return false;
    }

    function _joinCall(Trial memory trial, uint256 entered, uint256 mask)
        internal
        view
        returns (bytes memory)
    {
        return abi.encodeCall(
            ICourt.join,
            (trial.matter, trial.panel, _entries(trial.sitting, entered), _commits(trial.sitting, mask))
        );
    }

    function _join(Trial memory trial, uint256 entered, uint256 mask) internal {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(court).call(_joinCall(trial, entered, mask));
        if (done) return;
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    function _assertJoinRefused(Trial memory trial, uint256 entered, uint256 mask, bytes memory reason)
        internal
    {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(court).call(_joinCall(trial, entered, mask));
        assertTrue(!done, "refused");
        assertEq(keccak256(answer), keccak256(reason), "for this reason");
    }

    /// @dev From the panel's draw to its verdict, with everybody of the panel.
    function _sit(Trial memory trial, uint256 answers) internal {
        _draw(trial, answers);
        _join(trial, 0, ALL);
        _sitOut(trial, ALL, ALL);
    }

    /// @dev From the last commit to the verdict.
    function _sitOut(Trial memory trial, uint256 entered, uint256 revealed) internal {
        vm.warp(_deadlineOf(trial.sitting) + 1);
        _reveal(trial.sitting, entered, entered & revealed);
        if (entered & revealed != entered) vm.warp(vm.getBlockTimestamp() + ROAD_WINDOW);
        _finalize(trial.sitting, entered, entered & revealed);
    }

    // --- cases are closed ---------------------------------------------------------------------

    function _output(uint256 variant) internal pure returns (bytes32) {
        return keccak256(abi.encode("output", variant));
    }

    /// @dev Closes by showing the panel's output.
    function _close(Trial memory trial, uint256 variant) internal {
        court.close(trial.matter, trial.panel, _proofs(trial), _output(variant));
    }

    /// @dev Closes where nothing needs to be shown, or nobody shows it.
    function _closeSilent(Trial memory trial) internal {
        court.close(trial.matter, trial.panel, new Opening[](0), 0);
    }

    /// @dev The openings of the first winner and of all whose slash is held.
    function _proofs(Trial memory trial) internal pure returns (Opening[] memory openings) {
        Share[] memory shares = trial.matter.shares;
        openings = new Opening[](shares.length);
        uint256 count = 0;
        bool winner = false;
        for (uint256 i = 0; i < shares.length; ++i) {
            bool won = shares[i].kindOf() == ShareKind.Won;
            if (won ? winner : shares[i].amountOf() == 0) continue;
            winner = winner || won;
            Replica memory replica = trial.receipt.replicas[i];
            openings[count++] = Opening(uint8(i), replica.secs, replica.tag, replica.salt);
        }
        assembly ("memory-safe") {
            mstore(openings, count)
        }
    }

    function _caseState(Trial memory trial) internal view returns (CaseState) {
        return court.caseOf(market.jobId(trial.receipt.order)).state;
    }

    function _panelCost(Order memory order) internal pure returns (uint64) {
        return order.maxRate * order.maxSeconds * (2 * uint64(order.replicas) + 1);
    }

    /// @dev What a panel's `count` winners are paid: all of them for the lower median of their seconds.
    function _panelPay(Trial memory trial, uint256 winners) internal pure returns (uint64 sum) {
        uint256 count = 0;
        uint64 secs = 0;
        for (uint256 i = 0; i < trial.sitting.replicas.length; ++i) {
            count += winners >> i & 1;
        }
        uint256 seen = 0;
        for (uint256 i = 0; i < trial.sitting.replicas.length; ++i) {
            if (winners >> i & 1 == 0) continue;
            if (seen++ == (count - 1) / 2) secs = trial.sitting.replicas[i].secs; // seconds rise with the index
        }
        for (uint256 i = 0; i < trial.sitting.replicas.length; ++i) {
            if (winners >> i & 1 == 1) sum += trial.sitting.replicas[i].rate * secs;
        }
    }

    // --- audits -------------------------------------------------------------------------------

    /// @dev An order with one replica, to be audited with this chance, whose fee pays its share of that.
    function _auditable(uint256 requester, uint256 nonce, uint16 bps)
        internal
        view
        returns (Order memory order)
    {
        order = _order(requester, nonce);
        (order.replicas, order.quorum, order.auditBps) = (1, 1, bps);
        order.fee = uint64(uint256(_panelCost(order)) * bps / 10_000);
    }

    /// @dev The chain comes past the block that draws a trial's audit.
    function _passAuditBlock(Trial memory trial, bytes memory entropy) internal {
        uint256 number = court.auditBlock(trial.matter.enteredIn);
        vm.roll(number + 1);
        vm.setBlockhash(number, keccak256(entropy));
    }

    function _topUp(uint64 amount) internal {
        _deposit(_requester(3), amount);
        vm.prank(_requester(3));
        court.topUp(scheduler, amount);
    }

    // --- logs ---------------------------------------------------------------------------------

    function _logOf(bytes32 topic) internal returns (Vm.Log memory) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = logs.length; i != 0; --i) {
            if (logs[i - 1].topics[0] == topic && logs[i - 1].emitter == address(court)) return logs[i - 1];
        }
        revert NotTrue("the court told nothing");
    }

    function _noEntries() internal pure returns (Entry[] memory) {
        return new Entry[](0);
    }
}
