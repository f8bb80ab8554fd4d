// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {Account} from "../../src/types/Accounts.sol";
import {CaseState, Fund, PanelKind, Pledges, Verdict} from "../../src/types/Courts.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {RoadState} from "../../src/types/Roads.sol";
import {ShareKind} from "../../src/types/Share.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {vm} from "../utils/Vm.sol";
import {MarketHandler} from "./Market.t.sol";

/// @notice A random life of a market with cases at the court; forge calls the functions in any order.
/// @dev Each step is one that its state allows, so nothing here may revert; `outOfTurn` tries all the others.
contract CourtHandler is CourtFixture, MarketHandler {
    struct Docket {
        /// The trial, encoded: what the parties of the job know.
        bytes trial;
        uint256 answers;
        /// One bit for each of the panel.
        uint256 entered;
        uint256 revealed;
        CaseState state;
        uint256 since;
        /// Whether the panel's road is over.
        bool heard;
    }

    uint256 private constant FIRST_NONCE = 1 << 128;

    Docket[] private _dockets;

    // --- steps --------------------------------------------------------------------------------

    function enterJob(uint256 who, uint256 lies, uint64 bond, uint256 kind) external {
        _nextSeed(abi.encode("court", _dockets.length));
        providers.keepSeed(CLASS, seedBlock);
        Order memory order = _order(who % REQUESTERS, FIRST_NONCE + _dockets.length);
        order.bond = uint64(bound(bond, 1, 400e6));
        order.maxTicket = 255;
        order.escalate = true;
        if (kind & 1 == 1) (order.replicas, order.quorum) = (1, 1);
        if (kind & 6 != 0) order.auditBps = 10_000;
        if (kind & 6 != 0) order.fee = _panelCost(order);
        Receipt memory receipt = _draft(order);
        for (uint256 i = 0; i < order.replicas; ++i) {
            receipt.replicas[i].tag = _answer(market.jobId(order), lies >> 2 * i & 3);
        }
        receipt = _seal(receipt);
        if (vault.budget(order.requester, scheduler).amount < _worstCost(order)) return;
        vm.recordLogs();
        _settle(receipt);
        if (court.caseOf(market.jobId(order)).state == CaseState.None) return;
        Trial memory trial = _trialOf(receipt);
        bool agreed = _isAgreed(trial);
        Docket storage docket = _dockets.push();
        docket.trial = abi.encode(trial);
        docket.answers = lies;
        (docket.state, docket.since) = (agreed ? CaseState.Entered : CaseState.Split, vm.getBlockTimestamp());
    }

    function callPanel(uint256 which, uint256 answers, bool byAppeal) external {
        (Docket storage docket, Trial memory trial) = _docket(which);
        if (vm.getBlockTimestamp() > docket.since + APPEAL_WINDOW) return;
        Order memory order = trial.matter.order;
        uint64 cost = _panelCost(order);
        if (docket.state == CaseState.Split) {
            if (vault.budget(order.requester, scheduler).amount < cost) return;
            _escalate(trial);
        } else if (docket.state != CaseState.Entered) {
            return;
        } else if (_held(trial) != 0 && (byAppeal || order.auditBps == 0)) {
            address payer = _requester(which % REQUESTERS);
            if (_free(payer) < cost) return;
            _appeal(trial, payer);
        } else if (order.auditBps != 0) {
            if (_fundSum() < cost) return;
            uint256 number = court.auditBlock(trial.matter.enteredIn);
            if (vm.getBlockNumber() > number + 200) return; // forge forgets hashes that it was told
            if (vm.getBlockNumber() <= number) vm.roll(number + 1);
            vm.setBlockhash(number, keccak256(abi.encode("audit", number)));
            court.keepSeed(number);
            _audit(trial);
        } else {
            return;
        }
        _draw(trial, answers);
        providers.keepSeed(CLASS, trial.panel.seedBlock);
        docket.trial = abi.encode(trial);
        (docket.state, docket.since) = (CaseState.Called, vm.getBlockTimestamp());
    }

    function join(uint256 which, uint256 mask) external {
        (Docket storage docket, Trial memory trial) = _docket(which);
        if (docket.state != CaseState.Called || docket.heard) return;
        bool open_ = docket.entered != 0;
        if (vm.getBlockTimestamp() > (open_ ? _deadlineOf(trial.sitting) : trial.panel.expiry)) return;
        mask &= _able(trial) & ~docket.entered;
        if (mask == 0) return;
        _join(trial, docket.entered, mask);
        docket.entered |= mask;
    }

    function finish(uint256 which, uint256 revealed) external {
        (Docket storage docket, Trial memory trial) = _docket(which);
        if (docket.state != CaseState.Called || docket.heard || docket.entered == 0) return;
        if (vm.getBlockTimestamp() > _deadlineOf(trial.sitting)) revealed = 0; // may be too late
        revealed |= revealed >> 64;
        _finish(docket, trial, revealed & docket.entered);
    }

    function closeCase(uint256 which, bool shown) external {
        (Docket storage docket, Trial memory trial) = _docket(which);
        if (docket.state != CaseState.Called) return;
        if (!docket.heard && (docket.entered != 0 || vm.getBlockTimestamp() <= trial.panel.expiry)) return;
        Verdict memory verdict = court.verdictOf(market.jobId(trial.sitting.order));
        bool asks = trial.panel.kind != PanelKind.Escalation && verdict.agreed;
        if (asks && !shown) {
            if (vm.getBlockTimestamp() <= verdict.endedAt + PROOF_WINDOW) return;
        }
        if (asks && shown) _close(trial, _truth(trial, verdict.tag));
        else _closeSilent(trial);
        docket.state = CaseState.None;
    }

    function release(uint256 which) external {
        (Docket storage docket, Trial memory trial) = _docket(which);
        if (docket.state != CaseState.Entered && docket.state != CaseState.Split) return;
        if (vm.getBlockTimestamp() <= docket.since + APPEAL_WINDOW) return;
        court.release(trial.matter);
        docket.state = CaseState.None;
    }

    function unlock(uint256 who) external {
        court.unlock(_operator(who % OPERATORS));
    }

    function withdrawFund() external {
        court.withdraw(scheduler);
    }

    function fillFund(uint256 who, uint64 amount) external {
        address party = _requester(who % REQUESTERS);
        uint64 part = uint64(bound(amount, 0, _free(party)));
        vm.prank(party);
        court.topUp(scheduler, part);
    }

    /// @dev The next step of every case, so that many come to their end.
    function advanceAll(uint256 answers) external {
        for (uint256 d = 0; d < _dockets.length; ++d) {
            Docket storage docket = _dockets[d];
            answers = uint256(keccak256(abi.encode(answers, d)));
            // Most of a panel say the same.
            uint256 said = answers & answers >> 64 & answers >> 128 & 0x1111111111111111;
            if (docket.state != CaseState.Called) this.callPanel(d, said, answers >> 255 == 1);
            else if (docket.entered == 0) this.join(d, answers | answers >> 17);
            else if (!docket.heard) this.finish(d, answers | answers >> 17 | answers >> 34);
            else this.closeCase(d, answers >> 255 == 1);
        }
    }

    /// @notice No state takes a step that is not its own.
    function outOfTurn(uint256 which) external {
        (Docket storage docket, Trial memory trial) = _docket(which);
        bytes32 books = _books();
        bool callable = vm.getBlockTimestamp() <= docket.since + APPEAL_WINDOW;
        bool waits = docket.state == CaseState.Entered || docket.state == CaseState.Split;
        if (docket.state != CaseState.Entered || !callable) {
            _refused(abi.encodeCall(ICourt.appeal, (trial.matter)));
            _refused(abi.encodeCall(ICourt.audit, (trial.matter)));
        }
        if (docket.state != CaseState.Split || !callable) {
            _refused(abi.encodeCall(ICourt.escalate, (trial.matter)));
        }
        if (!waits || callable) _refused(abi.encodeCall(ICourt.release, (trial.matter)));
        if (docket.state != CaseState.Called) {
            _refused(abi.encodeCall(ICourt.close, (trial.matter, trial.panel, _proofs(trial), 0)));
        } else if (!docket.heard && docket.entered != 0) {
            _refused(abi.encodeCall(ICourt.close, (trial.matter, trial.panel, _proofs(trial), 0)));
        } else {
            ++trial.matter.enteredIn;
            _refused(abi.encodeCall(ICourt.close, (trial.matter, trial.panel, _proofs(trial), 0)));
        }
        assertEq(_books(), books, "nothing moved");
    }

    // --- what holds ---------------------------------------------------------------------------

    /// @notice What is held is held for an open case or a fund, to the unit.
    function assertHeld() external view {
        uint256 escrow = _fundSum();
        uint256 given = 0;
        uint256[] memory locked = new uint256[](OPERATORS);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            (Pledges memory pledges, uint64 expired) = court.pledgesOf(_operator(i));
            locked[i] = uint256(pledges.previous) + pledges.current + expired;
        }
        for (uint256 d = 0; d < _dockets.length; ++d) {
            Docket storage docket = _dockets[d];
            Trial memory trial = abi.decode(docket.trial, (Trial));
            assertTrue(_caseState(trial) == docket.state, "as its history says");
            if (docket.state == CaseState.None) continue;
            escrow += _held(trial);
            if (docket.state != CaseState.Called) continue;
            uint64 cost = _panelCost(trial.matter.order);
            if (docket.entered == 0) escrow += cost;
            if (docket.heard) given += cost - court.verdictOf(market.jobId(trial.sitting.order)).cost;
            _addLocks(docket, trial, locked);
        }
        assertEq(vault.escrow(address(court)), escrow, "held + set aside + funds");
        assertEq(vault.budget(address(court), address(0)).amount, given, "what panels left");
        for (uint256 i = 0; i < OPERATORS; ++i) {
            assertEq(_account(_operator(i)).locked, locked[i], "pledged, or held by a case");
        }
    }

    /// @notice Whatever happened, anybody can end every case, and nothing stays behind.
    function endAll() external {
        vm.warp(vm.getBlockTimestamp() + 10 days);
        for (uint256 d = 0; d < _dockets.length; ++d) {
            Docket storage docket = _dockets[d];
            Trial memory trial = abi.decode(docket.trial, (Trial));
            if (docket.state == CaseState.None) continue;
            if (docket.state == CaseState.Called) {
                if (docket.entered != 0 && !docket.heard) _finish(docket, trial, 0);
                vm.warp(vm.getBlockTimestamp() + 1 days);
                _closeSilent(trial);
            } else {
                court.release(trial.matter);
            }
            docket.state = CaseState.None;
        }
        for (uint256 i = 0; i < OPERATORS; ++i) {
            court.unlock(_operator(i));
        }
        vm.warp(vm.getBlockTimestamp() + 10 days);
        court.withdraw(scheduler);
        assertEq(vault.escrow(address(court)), 0, "no escrow");
        for (uint256 i = 0; i < parties.length; ++i) {
            Account memory books = _account(parties[i]);
            assertEq(books.locked, 0, "no lock");
            vm.prank(parties[i]);
            vault.withdraw(parties[i], books.free);
        }
    }

    // --- internals ----------------------------------------------------------------------------

    function _addLocks(Docket storage docket, Trial memory trial, uint256[] memory locked) private view {
        uint256 bond = trial.matter.order.bond;
        bool backed = trial.matter.order.auditBps != 0 && trial.panel.kind != PanelKind.Escalation;
        for (uint256 i = 0; backed && i < trial.matter.shares.length; ++i) {
            bool won = trial.matter.shares[i].kindOf() == ShareKind.Won;
            if (won && trial.matter.shares[i].amountOf() != 0) {
                locked[_indexOf(trial.matter.shares[i].operatorOf())] += bond;
            }
        }
        if (docket.heard) return;
        for (uint256 i = 0; i < trial.sitting.replicas.length; ++i) {
            if (docket.entered >> i & 1 == 1) locked[_indexOf(trial.sitting.replicas[i].operator)] += bond;
        }
    }

    function _finish(Docket storage docket, Trial memory trial, uint256 revealed) private {
        uint256 deadline = _deadlineOf(trial.sitting);
        bool fixed_ = road.jobs(market.jobId(trial.sitting.order)).state == RoadState.Revealing;
        if (vm.getBlockTimestamp() <= deadline && !fixed_) vm.warp(deadline + 1);
        if (revealed != 0) _reveal(trial.sitting, docket.entered, revealed);
        if (revealed != docket.entered) vm.warp(vm.getBlockTimestamp() + 2 * ROAD_WINDOW + 1);
        _finalize(trial.sitting, docket.entered, revealed);
        (docket.heard, docket.revealed) = (true, revealed);
    }

    /// @dev Forge may ask for a case before there is one.
    function _docket(uint256 which) private returns (Docket storage docket, Trial memory trial) {
        if (_dockets.length == 0) this.enterJob(which, 1, 50e6, which);
        if (_dockets.length == 0) vm.assume(false);
        docket = _dockets[which % _dockets.length];
        trial = abi.decode(docket.trial, (Trial));
    }

    function _isAgreed(Trial memory trial) private pure returns (bool) {
        for (uint256 i = 0; i < trial.matter.shares.length; ++i) {
            if (trial.matter.shares[i].kindOf() == ShareKind.Won) return true;
        }
        return false;
    }

    function _held(Trial memory trial) private pure returns (uint256 held) {
        for (uint256 i = 0; i < trial.matter.shares.length; ++i) {
            if (trial.matter.shares[i].kindOf() == ShareKind.Slashed) {
                held += trial.matter.shares[i].amountOf();
            }
        }
    }

    function _fundSum() private view returns (uint256) {
        Fund memory fund_ = court.fundOf(scheduler);
        return uint256(fund_.settled) + fund_.previous + fund_.current;
    }

    /// @dev Those of the panel who have the stake to join.
    function _able(Trial memory trial) private view returns (uint256 mask) {
        for (uint256 i = 0; i < trial.sitting.replicas.length; ++i) {
            Account memory books = _account(trial.sitting.replicas[i].operator);
            if (books.bond - books.locked >= trial.sitting.order.bond) mask |= 1 << i;
        }
    }

    function _truth(Trial memory trial, bytes18 tag) private view returns (uint256 variant) {
        bytes32 job = market.jobId(trial.sitting.order);
        while (bytes18(_answer(job, variant)) != tag) ++variant;
    }

    function _refused(bytes memory step) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done,) = address(court).call(step);
        assertTrue(!done, "a step out of turn");
    }

    function _indexOf(address operator) private pure returns (uint256 i) {
        while (_operator(i) != operator) ++i;
    }
}

/// @notice What holds whatever anybody does.
contract CourtInvariantTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    CourtHandler private _handler;

    function setUp() public {
        _handler = new CourtHandler();
    }

    /// @dev Run by forge at the end of each life.
    function afterInvariant() public {
        _handler.endAll();
        _handler.assertHeld();
    }

    /// @dev Read by forge: whom it calls.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev Read by forge: what it does not call.
    function excludeSelectors() public view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](3));
        excluded[0].selectors[0] = MarketFixture.setUp.selector;
        excluded[0].selectors[1] = CourtHandler.endAll.selector;
        excluded[0].selectors[2] = MarketHandler.settle.selector; // `enterJob` keeps books of what it slashes
    }

    function invariant_held() public view {
        _handler.assertSolvent();
        _handler.assertSeats();
        _handler.assertHeld();
    }
}
