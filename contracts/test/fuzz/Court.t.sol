// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account} from "../../src/types/Accounts.sol";
import {CaseState, Fund} from "../../src/types/Courts.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";
import {PanelModel} from "../utils/PanelModel.sol";

/// @notice Random jobs and random panels against the model of who ends up with what.
contract CourtFuzzTest is CourtFixture {
    struct Terms {
        uint8 replicas;
        uint8 quorum;
        uint64 fee;
        uint64 maxRate;
        uint32 maxSeconds;
        uint64 bond;
        bool audited;
        bool byRoad;
        bool byAppeal;
        bool shown;
    }

    struct Before {
        Account[] first;
        Account[] panel;
        uint256 budget;
        uint256 payer;
        uint256 scheduler;
        uint256 treasury;
        uint256 fund;
    }

    address private _payer;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 12; i < 24; ++i) {
            _newOperator(i, SEATS_EACH);
        }
        _nextSeed("more");
        _payer = _requester(2);
        _deposit(_payer, 1_000_000e6);
        // A fund that pays for any audit here.
        _topUp(1_000_000e6);
    }

    /// @param votes For each replica a byte: which of a few answers it gives.
    /// @param panelVotes The same of the panel, and who of it comes and speaks.
    function testFuzz_panel(
        Terms memory terms,
        uint256 votes,
        uint256 panelVotes,
        uint256 meters,
        uint256 conduct
    ) public {
        PanelModel.Said memory said;
        Order memory order = _orderOf(terms);
        said.answers = _answersOf(votes, order.replicas);
        bool agreed = _agreed(said.answers, order);
        bool unanimous = agreed && _unanimous(said.answers, order.replicas);
        // What does not concern the court is tested elsewhere.
        if (unanimous) order.auditBps = 10_000;
        said.receipt = _receipt(order, said.answers, meters);
        Before memory before;
        before.first = _accounts(said.receipt);
        (before.budget, before.scheduler) = (_budget(0), _free(scheduler));

        Trial memory trial = terms.byRoad ? _enterByRoad(said.receipt) : _enter(said.receipt);
        (before.treasury, before.payer, before.fund) = (_free(TREASURY), _free(_payer), _fund());
        if (order.auditBps != 0 && agreed) before.fund -= order.fee;
        _callPanel(trial, agreed, terms.byAppeal && !unanimous);
        said.panelAnswers = _answersOf(panelVotes, 2 * order.replicas + 1);
        _draw(trial, said.panelAnswers);
        _price(trial.sitting, panelVotes ^ meters);
        said.sitting = trial.sitting;
        before.panel = _accounts(trial.sitting);
        (said.entered, said.revealed) = _conduct(conduct, trial.sitting.replicas.length);
        if (said.entered != 0) {
            _join(trial, 0, said.entered);
            _sitOut(trial, said.entered, said.revealed);
        } else {
            _pass(2 days);
        }
        said.shown = terms.shown;
        _end(trial, said, agreed);
        _compare(trial, said, before, agreed);
    }

    function _callPanel(Trial memory trial, bool agreed, bool byAppeal) private {
        if (!agreed) {
            _escalate(trial);
        } else if (trial.matter.order.auditBps == 0 || byAppeal) {
            _appeal(trial, _payer);
        } else {
            _passAuditBlock(trial, "drawn");
            _audit(trial);
        }
    }

    function _end(Trial memory trial, PanelModel.Said memory said, bool agreed) private {
        bool verdict = court.verdictOf(market.jobId(trial.sitting.order)).agreed;
        if (!agreed || !verdict) {
            _closeSilent(trial);
        } else if (said.shown) {
            uint256 truth = 0;
            uint256 spoken = said.entered & said.revealed;
            while (_count(said.panelAnswers, spoken, truth) <= trial.matter.order.replicas) ++truth;
            _close(trial, truth);
        } else {
            _pass(PROOF_WINDOW + 1);
            _closeSilent(trial);
        }
        assertTrue(_caseState(trial) == CaseState.None, "over");
    }

    function _compare(Trial memory trial, PanelModel.Said memory said, Before memory before, bool agreed)
        private
        view
    {
        PanelModel.Ends memory ends = PanelModel.expected(said, !agreed);
        _compareAccounts(before.first, _accounts(trial.receipt), ends.gained, ends.lost);
        _compareAccounts(before.panel, _accounts(trial.sitting), ends.panelGained, ends.panelLost);
        Order memory order = trial.matter.order;
        uint256 fee = agreed ? order.fee : 0;
        assertEq(before.budget - _budget(0), ends.requesterPaid, "requester");
        assertEq(_free(TREASURY) - before.treasury, ends.treasury, "treasury");
        if (order.auditBps == 0 || !agreed) {
            assertEq(_free(scheduler) - before.scheduler, fee, "scheduler");
            assertEq(before.payer - _free(_payer), ends.payerPaid, "payer");
            assertEq(_fund(), before.fund, "fund");
        } else if (trial.panel.payer == _payer) {
            assertEq(before.payer - _free(_payer), ends.payerPaid, "payer");
            assertEq(_fund() - before.fund, fee, "fund");
        } else {
            assertEq(before.payer, _free(_payer), "payer");
            assertEq(before.fund + fee - _fund(), ends.payerPaid, "fund");
        }
        assertEq(vault.escrow(address(court)), _fund(), "nothing else stays");
        assertEq(vault.budget(address(court), address(0)).amount, 0, "nor here");
        _assertSolvent();
    }

    function _compareAccounts(
        Account[] memory before,
        Account[] memory books,
        uint256[] memory gained,
        uint256[] memory lost
    ) private pure {
        for (uint256 i = 0; i < books.length; ++i) {
            assertEq(books[i].free - before[i].free, gained[i], "gained");
            assertEq(before[i].bond - books[i].bond, lost[i], "lost");
            assertEq(books[i].locked, 0, "let go");
        }
    }

    function _fund() private view returns (uint256) {
        Fund memory fund = court.fundOf(scheduler);
        return uint256(fund.settled) + fund.previous + fund.current;
    }

    function _orderOf(Terms memory terms) private view returns (Order memory order) {
        order = _order(0, 1);
        order.replicas = uint8(bound(terms.replicas, 1, 5));
        order.quorum = uint8(bound(terms.quorum, order.replicas / 2 + 1, order.replicas));
        order.maxRate = uint64(bound(terms.maxRate, 0, 100_000));
        order.maxSeconds = uint32(bound(terms.maxSeconds, 0, 2 days / 10));
        order.bond = uint64(bound(terms.bond, 0, SEATS_EACH * SEAT));
        // A slash of nothing does not concern the court.
        if (order.bond == 0) order.bond = 1;
        order.fee = _panelCost(order) + uint64(bound(terms.fee, 0, 1000e6));
        order.maxTicket = 255;
        order.escalate = true;
        if (terms.audited) order.auditBps = 10_000;
    }

    function _receipt(Order memory order, uint256 answers, uint256 meters)
        private
        view
        returns (Receipt memory receipt)
    {
        receipt = _draft(order);
        bytes32 job = market.jobId(order);
        for (uint256 i = 0; i < order.replicas; ++i) {
            Replica memory replica = receipt.replicas[i];
            replica.tag = _answer(job, answers >> 4 * i & 15);
            replica.secs = uint32((meters >> 32 * i) % (2 * uint256(order.maxSeconds) + 1));
            replica.rate = uint64((meters >> 32 * i + 16 & 0xffff) * order.maxRate / 0xffff);
        }
        return _seal(receipt);
    }

    function _price(Receipt memory sitting, uint256 meters) private pure {
        for (uint256 i = 0; i < sitting.replicas.length; ++i) {
            Replica memory replica = sitting.replicas[i];
            replica.secs = uint32((meters >> 16 * i) % (2 * uint256(sitting.order.maxSeconds) + 1));
            replica.rate = uint64((meters >> 16 * i + 8 & 0xff) * sitting.order.maxRate / 0xff);
        }
    }

    /// @dev Of each byte an answer: most agree, the others say one of three things.
    function _answersOf(uint256 votes, uint256 count) private pure returns (uint256 answers) {
        uint256 common = votes >> 248 & 3;
        for (uint256 i = 0; i < count; ++i) {
            uint256 vote = votes >> 8 * i & 15;
            answers |= (vote < 8 ? common : vote & 3) << 4 * i;
        }
    }

    function _conduct(uint256 conduct, uint256 panel)
        private
        pure
        returns (uint256 entered, uint256 revealed)
    {
        uint256 all = (1 << panel) - 1;
        // A quarter of the panels is complete, and a few never form.
        entered = conduct & 3 == 0 ? all : (conduct >> 2 | conduct >> 18) & all;
        if (conduct & 63 == 5) entered = 0;
        revealed = (conduct >> 34 | conduct >> 50 | conduct >> 66) & entered;
        if (conduct & 4 == 0) revealed = entered;
    }

    function _agreed(uint256 answers, Order memory order) private pure returns (bool) {
        uint256 all = (1 << order.replicas) - 1;
        for (uint256 answer = 0; answer < 4; ++answer) {
            if (_count(answers, all, answer) >= order.quorum) return true;
        }
        return false;
    }

    function _unanimous(uint256 answers, uint256 replicas) private pure returns (bool) {
        return _count(answers, (1 << replicas) - 1, answers & 15) == replicas;
    }

    function _count(uint256 answers, uint256 chosen, uint256 answer) private pure returns (uint256 count) {
        for (uint256 i = 0; i < 32; ++i) {
            if (chosen >> i & 1 == 1 && answers >> 4 * i & 15 == answer) ++count;
        }
    }

    function _accounts(Receipt memory receipt) private view returns (Account[] memory accounts) {
        accounts = new Account[](receipt.replicas.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            accounts[i] = _account(receipt.replicas[i].operator);
        }
    }
}
