// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IProviders} from "../../src/interfaces/IProviders.sol";
import {IRoad} from "../../src/interfaces/IRoad.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Account} from "../../src/types/Accounts.sol";
import {CaseState, Fund, Panel, PanelKind, Referral} from "../../src/types/Courts.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {Opening} from "../../src/types/Roads.sol";
import {Share, ShareKind} from "../../src/types/Share.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @dev See Court.tree. In the trials here replica 0 stands alone against 1 and 2, unless a test says otherwise.
contract CourtTest is CourtFixture {
    uint64 private constant FEE = 2000;
    uint64 private constant BOND = 50e6;
    uint64 private constant STAKE = uint64(SEATS_EACH) * SEAT;
    /// 7 of a panel, rate and seconds at their caps.
    uint64 private constant WORST = 7 * 1500 * 600;
    /// Its answer 0 is what the two winners said, 1 what the slashed one did.
    uint256 private constant FOR_WINNERS = 0;
    uint256 private constant FOR_APPELLANT = 0x1111111;

    // --- jobs come in -------------------------------------------------------------------------

    function test_enter_notConcerned() public {
        vm.recordLogs();
        Receipt memory receipt = _honest(0, 1);
        _settle(receipt);
        assertEq(vm.getRecordedLogs().length, 4, "nothing of the court's");
        Order memory order = _order(0, 2);
        receipt = _draft(order);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = _answer(market.jobId(order), i);
        }
        vm.recordLogs();
        _settle(_seal(receipt));
        assertEq(vm.getRecordedLogs().length, 4, "nor of a job without a quorum that may not be escalated");
        assertEq(vault.escrow(address(court)), 0, "it holds nothing");
    }

    function test_enter_stranger() public {
        Referral memory referral;
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotJudge.selector, address(this)));
        court.enter(referral, new Share[](0));
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotJudge.selector, address(this)));
        court.conclude(0, 0, true, 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotJudge.selector, address(market)));
        vm.prank(address(market));
        court.conclude(0, 0, true, 1);
    }

    function test_enter_held() public {
        Trial memory trial = _slashed(1);
        assertTrue(_caseState(trial) == CaseState.Entered, "it may be appealed");
        assertEq(trial.matter.shares[0].amountOf(), BOND, "what was taken");
        assertTrue(trial.matter.shares[0].kindOf() == ShareKind.Slashed, "from the first");
        assertEq(trial.matter.shares[1].amountOf(), 1001 * 307, "what the second was paid");
        assertEq(vault.escrow(address(court)), BOND, "held");
        assertEq(_free(TREASURY), 0, "not the treasury's yet");
        assertEq(_account(_appellant(trial)).faults, 1, "a fault");
        _assertSolvent();
    }

    /// @dev Both judges hand over the same, so that the court cannot tell which it was.
    function test_enter_roadAlike() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        Trial memory byRoad = _enterByRoad(receipt);
        assertEq(vault.escrow(address(court)), BOND, "held");
        bytes32 shares = keccak256(abi.encode(byRoad.matter.shares));
        Trial memory byReceipt = _enter(_withLiar(_order(1, 1), 0));
        for (uint256 i = 0; i < 3; ++i) {
            Share share = byReceipt.matter.shares[i];
            assertEq(share.amountOf(), byRoad.matter.shares[i].amountOf(), "the same amount");
            assertTrue(share.kindOf() == byRoad.matter.shares[i].kindOf(), "for the same");
        }
        assertTrue(shares != 0, "told");
        _assertSolvent();
    }

    function test_enter_roadBySettle() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        _open(receipt, 1);
        vm.recordLogs();
        _override(receipt, receipt, 1);
        Trial memory trial = _trialOf(receipt);
        _judge(trial, FOR_APPELLANT, 1);
        assertEq(_account(_appellant(trial)).bond + _backOf(trial), STAKE, "it lost nothing in the end");
    }

    /// @dev Who broke a promise to speak has nothing that a panel could find right.
    function test_enter_silentIsFinal() public {
        Order memory order = _order(0, 1);
        // The first lies, the last is silent.
        (order.replicas, order.quorum) = (5, 3);
        Receipt memory receipt = _withLiar(order, 0);
        _openFixed(receipt);
        _reveal(receipt, 31, 15);
        _pass(ROAD_WINDOW + 1);
        vm.recordLogs();
        _finalize(receipt, 31, 15);
        Trial memory trial = _trialOf(receipt);
        assertEq(trial.matter.shares[0].amountOf(), BOND, "the liar's is held");
        assertEq(trial.matter.shares[4].amountOf(), 0, "the silent's is final");
        assertEq(vault.escrow(address(court)), BOND, "one bond");
        assertEq(_free(TREASURY), BOND, "and one");
        _assertSolvent();
    }

    function test_enter_nothingLeft() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        receipt.order.bond = 0;
        receipt = _draft(receipt.order);
        receipt.replicas[0].tag = _answer(market.jobId(receipt.order), 1);
        vm.recordLogs();
        _settle(_seal(receipt));
        assertEq(vm.getRecordedLogs().length, 4, "nothing to give back");
        assertTrue(court.caseOf(market.jobId(receipt.order)).state == CaseState.None, "no case");
    }

    // --- without a panel ----------------------------------------------------------------------

    function test_release() public {
        Trial memory trial = _slashed(1);
        uint256 until = vm.getBlockTimestamp() + APPEAL_WINDOW;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_TooEarly.selector, until));
        court.release(trial.matter);
        vm.warp(until + 1);
        court.release(trial.matter);
        assertEq(_free(TREASURY), BOND, "the treasury's");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _expectOver(trial);
        _assertSolvent();
    }

    /// @dev Each member of what is supplied again decides over money.
    function test_context() public {
        Trial memory trial = _slashed(1);
        bytes memory wrong =
            abi.encodeWithSelector(ICourt.Court_ContextWrong.selector, market.jobId(trial.receipt.order));
        vm.warp(vm.getBlockTimestamp() + APPEAL_WINDOW + 1);
        Share share = trial.matter.shares[0];
        trial.matter.shares[0] = trial.matter.shares[1];
        vm.expectRevert(wrong);
        court.release(trial.matter);
        trial.matter.shares[0] = share;
        trial.matter.commitments[1] = 0;
        vm.expectRevert(wrong);
        court.release(trial.matter);
        trial.matter.commitments[1] = _commitment(trial.receipt, 1);
        ++trial.matter.enteredIn;
        vm.expectRevert(wrong);
        court.release(trial.matter);
        --trial.matter.enteredIn;
        ++trial.matter.order.fee;
        vm.expectRevert(
            abi.encodeWithSelector(ICourt.Court_NotOpen.selector, market.jobId(trial.matter.order))
        );
        court.release(trial.matter);
        --trial.matter.order.fee;
        court.release(trial.matter);
    }

    /// @dev A panel's slash, escrow and locks follow the shares: only those that were entered count.
    function test_context_calling() public {
        Trial memory trial = _slashed(1);
        bytes memory wrong =
            abi.encodeWithSelector(ICourt.Court_ContextWrong.selector, market.jobId(trial.receipt.order));
        _deposit(address(this), WORST);
        Share share = trial.matter.shares[0];
        trial.matter.shares[0] = trial.matter.shares[1];
        vm.expectRevert(wrong);
        court.appeal(trial.matter);
        vm.expectRevert(wrong);
        court.audit(trial.matter);
        trial.matter.shares[0] = share;
        court.appeal(trial.matter);
    }

    /// @dev Were a panel's order not bound to its job, two requesters' jobs could share a panel.
    function test_panelOrder_own() public view {
        Order memory order = _order(0, 1);
        Panel memory panel = Panel(PanelKind.Appeal, address(this), 9, 99);
        Order memory own = court.panelOrder(order, panel);
        assertEq(own.nonce, uint256(market.jobId(order)), "bound to its job");
        order.requester = _requester(1);
        assertTrue(court.panelOrder(order, panel).nonce != own.nonce, "and to no other");
    }

    // --- appeals ------------------------------------------------------------------------------

    /// @dev A requester with two friends among three operators took an honest one's bond.
    function test_appeal_upheld() public {
        Trial memory trial = _slashed(1);
        address honest = _appellant(trial);
        _deposit(honest, WORST);
        uint64 free = _account(honest).free;
        uint64 budget = uint64(_budget(0));
        _appeal(trial, honest);
        assertEq(_account(honest).free, free - WORST, "the panel's worst cost is set aside");
        assertEq(vault.escrow(address(court)), BOND + WORST, "here");
        _sit(trial, FOR_APPELLANT);
        assertEq(uint256(trial.sitting.order.replicas), 7, "2k + 1");
        assertEq(_free(trial.sitting.replicas[0].operator), 1e6 + 900 * 293, "the panel is paid");
        _close(trial, 1);
        Account memory books = _account(honest);
        assertEq(books.free, free + BOND, "slash and costs are back");
        assertEq(books.faults, 0, "and it has no fault");
        uint64 pay = _panelPay(trial, 127);
        uint64 cost = FEE + 1001 * 307 + 1002 * 307;
        for (uint256 i = 1; i < 3; ++i) {
            books = _account(trial.receipt.replicas[i].operator);
            assertEq(books.bond, STAKE - BOND, "the friends are slashed");
            assertEq(books.faults, 1, "a fault");
        }
        assertEq(_budget(0), budget + cost, "the requester paid for a wrong answer");
        assertEq(_free(TREASURY), 2 * BOND - pay - cost, "the rest");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _expectOver(trial);
        _assertSolvent();
    }

    function test_appeal_ofRoad() public {
        Trial memory trial = _enterByRoad(_withLiar(_order(0, 1), 0));
        _judge(trial, FOR_APPELLANT, 1);
        assertEq(_account(_appellant(trial)).bond + _backOf(trial), STAKE, "it lost nothing in the end");
        assertEq(_account(trial.receipt.replicas[1].operator).bond, STAKE - BOND, "the winners did");
        _assertSolvent();
    }

    function test_appeal_liar() public {
        Trial memory trial = _slashed(1);
        address liar = _appellant(trial);
        _deposit(liar, WORST);
        uint64 free = _account(liar).free;
        uint256 budget = _budget(0);
        _appeal(trial, liar);
        _sit(trial, FOR_WINNERS);
        _close(trial, 0);
        uint64 pay = _panelPay(trial, 127);
        assertEq(_account(liar).free, free - pay, "the loser pays for the panel");
        assertEq(_account(liar).faults, 1, "its fault stands");
        assertEq(_free(TREASURY), BOND, "so does its slash");
        assertEq(_account(trial.receipt.replicas[1].operator).bond, STAKE, "the winners lost nothing");
        assertEq(_budget(0), budget, "the requester got what it paid for");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _expectOver(trial);
        _assertSolvent();
    }

    /// @dev A job that is not deterministic cannot take anybody's stake: no two of the panel agree.
    function test_appeal_noQuorum() public {
        Trial memory trial = _slashed(1);
        address honest = _appellant(trial);
        _deposit(honest, WORST);
        uint64 free = _account(honest).free;
        _appeal(trial, honest);
        _sit(trial, 0x7654321);
        _closeSilent(trial);
        uint64 efforts = 0;
        for (uint64 i = 0; i < 7; ++i) {
            efforts += (900 + i) * (290 + i) / 4;
        }
        assertEq(_account(honest).free, free + BOND - efforts, "its slash is back, less the panel's effort");
        assertEq(_account(honest).faults, 0, "nobody is provably wrong");
        assertEq(_account(trial.receipt.replicas[1].operator).bond, STAKE, "the winners neither");
        assertEq(_free(TREASURY), 0, "nothing was lost");
        _assertSolvent();
    }

    function test_appeal_nobodyCame() public {
        Trial memory trial = _slashed(1);
        address honest = _appellant(trial);
        _deposit(honest, WORST);
        uint64 free = _account(honest).free;
        _appeal(trial, honest);
        vm.warp(trial.panel.expiry);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_TooEarly.selector, trial.panel.expiry));
        _closeSilent(trial);
        vm.warp(trial.panel.expiry + 1);
        _draw(trial, 0);
        _assertJoinRefused(
            trial, 0, ALL, abi.encodeWithSelector(IRoad.Road_OrderExpired.selector, trial.panel.expiry)
        );
        _closeSilent(trial);
        assertEq(_account(honest).free, free + BOND, "all is back");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _expectOver(trial);
        _assertSolvent();
    }

    /// @dev Fewer than a quorum came: nobody is paid, as on any road.
    function test_appeal_fewCame() public {
        Trial memory trial = _slashed(1);
        _judgeBy(trial, FOR_APPELLANT, 7, 7);
        _closeSilent(trial);
        assertEq(_account(_appellant(trial)).faults, 0, "the slash is back");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        assertEq(_free(trial.sitting.replicas[0].operator), 1e6, "and nobody was paid");
        _assertSolvent();
    }

    /// @dev The panel says something that nobody had said: both were wrong.
    function test_appeal_thirdAnswer() public {
        Trial memory trial = _slashed(1);
        address liar = _appellant(trial);
        _deposit(liar, WORST);
        uint64 free = _account(liar).free;
        _appeal(trial, liar);
        _sit(trial, 0x2222222);
        _close(trial, 2);
        assertEq(_account(liar).faults, 1, "its slash stands");
        assertEq(_account(liar).free, free, "but it uncovered the others, who pay");
        assertEq(_account(trial.receipt.replicas[1].operator).bond, STAKE - BOND, "the winners");
        _assertSolvent();
    }

    /// @dev The panel's own minority and its silent are slashed for good: there is no appeal of panels.
    function test_appeal_panelMinority() public {
        Trial memory trial = _slashed(1);
        _judgeBy(trial, 0x1111121, 127, 63);
        address minority = trial.sitting.replicas[1].operator;
        assertEq(_account(minority).bond, STAKE - BOND, "said something else");
        assertEq(_account(trial.sitting.replicas[6].operator).bond, STAKE - BOND, "said nothing");
        assertEq(_free(TREASURY), 2 * BOND, "the treasury's at once");
        assertTrue(
            court.caseOf(market.jobId(trial.sitting.order)).state == CaseState.None, "no case of its own"
        );
        _close(trial, 1);
        assertEq(_account(_appellant(trial)).faults, 0, "upheld all the same");
        _assertSolvent();
    }

    /// @dev Two of five were slashed; one appeal finds for the one that was right.
    function test_appeal_decidesForAll() public {
        Order memory order = _order(0, 1);
        (order.replicas, order.quorum) = (5, 3);
        Receipt memory receipt = _draft(order);
        receipt.replicas[0].tag = _answer(market.jobId(order), 1);
        receipt.replicas[3].tag = _answer(market.jobId(order), 2);
        _moreOperators(12, 10);
        Trial memory trial = _enter(_seal(receipt));
        address payer = receipt.replicas[3].operator; // the wrong one even
        _deposit(payer, _panelCost(order));
        _appeal(trial, payer);
        _sit(trial, 0x11111111111);
        assertEq(trial.sitting.replicas.length, 11, "2k + 1");
        _close(trial, 1);
        assertEq(_account(receipt.replicas[0].operator).faults, 0, "right");
        assertEq(_account(payer).faults, 1, "wrong");
        for (uint256 i = 0; i < 5; ++i) {
            bool winner = i != 0 && i != 3;
            if (winner) assertEq(_account(receipt.replicas[i].operator).bond, STAKE - BOND, "wrong too");
        }
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _assertSolvent();
    }

    /// @dev The scheduler told one operator another round, which made its tag differ: both were right.
    function test_appeal_otherRound() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _draft(order);
        bytes32 job = market.jobId(order);
        receipt.replicas[0].tag = keccak256(abi.encode(job, uint32(ROUNDS - 1), _output(0)));
        Trial memory trial = _enter(_seal(receipt));
        _judge(trial, 0, 0);
        assertEq(_account(_appellant(trial)).faults, 0, "right");
        assertEq(_account(receipt.replicas[1].operator).bond, STAKE, "so were the winners");
        _assertSolvent();
    }

    function test_appeal_roundTooHigh() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _draft(order);
        receipt.replicas[0].tag = keccak256(abi.encode(market.jobId(order), uint32(ROUNDS), _output(0)));
        Trial memory trial = _enter(_seal(receipt));
        _judge(trial, 0, 0);
        assertEq(_account(_appellant(trial)).faults, 1, "no standing");
    }

    function test_appeal_byAnybody() public {
        Trial memory trial = _slashed(1);
        address friend = _requester(2);
        uint256 free = _free(friend);
        _appeal(trial, friend);
        _sit(trial, FOR_APPELLANT);
        _close(trial, 1);
        assertEq(_free(friend), free, "the friend's money is back");
        assertEq(_free(_appellant(trial)), 1e6 + BOND, "the slash is its operator's");
    }

    function test_appeal_withoutMoney() public {
        Trial memory trial = _slashed(1);
        address poor = _appellant(trial);
        vm.expectRevert(
            abi.encodeWithSelector(IVault.Vault_InsufficientFree.selector, poor, uint64(1e6), WORST)
        );
        vm.prank(poor);
        court.appeal(trial.matter);
        assertTrue(_caseState(trial) == CaseState.Entered, "as it was");
    }

    function test_appeal_dearPanel() public {
        Order memory order = _order(0, 1);
        order.maxRate = type(uint64).max / 600 / 3;
        order.fee = 0;
        Trial memory trial = _enter(_withLiar(order, 0));
        uint256 cost = uint256(order.maxRate) * 600 * 7;
        assertEq(court.panelCost(order), cost, "more than the books can count");
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_CostTooHigh.selector, cost));
        court.appeal(trial.matter);
    }

    function test_appeal_late() public {
        Trial memory trial = _slashed(1);
        uint256 until = vm.getBlockTimestamp() + APPEAL_WINDOW;
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_TooLate.selector, until));
        vm.prank(_requester(2));
        court.appeal(trial.matter);
        vm.warp(until);
        _appeal(trial, _requester(2));
    }

    function test_appeal_twice() public {
        Trial memory trial = _slashed(1);
        bytes32 job = market.jobId(trial.receipt.order);
        _appeal(trial, _requester(2));
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job));
        vm.prank(_requester(2));
        court.appeal(trial.matter);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job));
        court.release(trial.matter);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job));
        court.escalate(trial.matter);
    }

    function test_appeal_nothingHeld() public {
        Order memory order = _auditable(0, 1, 100);
        Trial memory trial = _enter(_seal(_draft(order)));
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NothingHeld.selector, market.jobId(order)));
        vm.prank(_requester(2));
        court.appeal(trial.matter);
    }

    // --- panels sit ---------------------------------------------------------------------------

    /// @dev Who judged the job before, or was judged, has no seat on its panel.
    function test_join_originalOperators() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _draw(trial, FOR_WINNERS);
        (address own, uint8 ticket) = _drawnAgain(trial);
        trial.sitting.replicas[3].operator = own;
        trial.sitting.replicas[3].ticket = ticket;
        _assertJoinRefused(trial, 0, 8, abi.encodeWithSelector(ICourt.Court_NotFresh.selector, own));
        // Nor past the court, by the road itself.
        bytes memory past = abi.encodeWithSelector(IRoad.Road_NotCourt.selector, address(this));
        _assertRefused(_openCall(trial.sitting, 8, ""), past);
        _join(trial, 0, 1);
        _assertRefused(_commitCall(trial.sitting, 1, 8), past);
        _assertJoinRefused(trial, 1, 8, abi.encodeWithSelector(ICourt.Court_NotFresh.selector, own));
    }

    function test_join_oneByOne() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _draw(trial, FOR_APPELLANT);
        for (uint256 i = 0; i < 7; ++i) {
            _join(trial, (1 << i) - 1, 1 << i);
            assertEq(_locked(trial.sitting.replicas[i].operator), BOND, "its bond");
        }
        _sitOut(trial, ALL, ALL);
        _close(trial, 1);
        assertEq(_account(_appellant(trial)).faults, 0, "upheld");
        _assertSolvent();
    }

    function test_join_beforeSeed() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        // Nobody knows who is drawn.
        _assertJoinRefused(
            trial,
            0,
            0,
            abi.encodeWithSelector(IProviders.Providers_SeedUnknown.selector, trial.panel.seedBlock)
        );
        assertTrue(trial.panel.seedBlock > vm.getBlockNumber() + 1, "nor can whoever makes the next block");
    }

    function test_join_otherPanel() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _draw(trial, FOR_APPELLANT);
        bytes memory wrong =
            abi.encodeWithSelector(ICourt.Court_ContextWrong.selector, market.jobId(trial.receipt.order));
        --trial.panel.seedBlock;
        _assertJoinRefused(trial, 0, 1, wrong);
        ++trial.panel.seedBlock;
        ++trial.panel.expiry;
        _assertJoinRefused(trial, 0, 1, wrong);
        --trial.panel.expiry;
        trial.panel.payer = address(this);
        _assertJoinRefused(trial, 0, 1, wrong);
        trial.panel.payer = _requester(2);
        trial.panel.kind = PanelKind.Audit;
        _assertJoinRefused(trial, 0, 1, wrong);
        trial.panel.kind = PanelKind.Appeal;
        _join(trial, 0, 1);
    }

    function test_join_notCalled() public {
        Trial memory trial = _slashed(1);
        _assertJoinRefused(
            trial,
            0,
            0,
            abi.encodeWithSelector(ICourt.Court_NotOpen.selector, market.jobId(trial.receipt.order))
        );
    }

    /// @dev The largest panel, of a job with 8 replicas.
    function test_join_seventeen() public {
        _moreOperators(12, 20);
        Order memory order = _order(0, 1);
        (order.replicas, order.quorum, order.maxTicket) = (8, 5, 200);
        Receipt memory receipt = _withLiar(order, 7);
        Trial memory trial = _enter(receipt);
        _deposit(_requester(2), _panelCost(order));
        _appeal(trial, _requester(2));
        _draw(trial, 0x88888888888888888);
        assertEq(trial.sitting.replicas.length, 17, "2k + 1");
        _join(trial, 0, ALL);
        assertTrue(vm.lastCallGas().gasTotalUsed < 1 << 24, "in one transaction");
        _sitOut(trial, ALL, ALL);
        assertTrue(vm.lastCallGas().gasTotalUsed < 1 << 24, "in one transaction");
        _close(trial, 8);
        assertEq(_account(receipt.replicas[7].operator).faults, 0, "upheld");
        _assertSolvent();
    }

    // --- cases are closed ---------------------------------------------------------------------

    function test_close_whileOpen() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _draw(trial, FOR_APPELLANT);
        _join(trial, 0, ALL);
        vm.warp(trial.panel.expiry + 30 days);
        bytes32 panelJob = market.jobId(trial.sitting.order);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_PanelOpen.selector, panelJob));
        _closeSilent(trial);
        // Anybody ends it.
        _finalize(trial.sitting, ALL, 0);
        _closeSilent(trial);
        assertEq(_account(_appellant(trial)).faults, 0, "no quorum");
        _assertSolvent();
    }

    function test_close_wrongDigest() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _sit(trial, FOR_APPELLANT);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_DigestWrong.selector, _output(0)));
        _close(trial, 0);
    }

    /// @dev Nobody's tag can be left out, or be another's.
    function test_close_openings() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _sit(trial, FOR_APPELLANT);
        Opening[] memory openings = _proofs(trial);
        assertEq(openings.length, 2, "the slashed one's and a winner's");
        Opening[] memory one = new Opening[](1);
        one[0] = openings[0];
        _expectOpeningWrong(trial, one, 1);
        one[0] = openings[1];
        _expectOpeningWrong(trial, one, 0);
        openings[1].tag = openings[0].tag; // the winner would have said the same
        _expectOpeningWrong(trial, openings, 1);
        openings = _proofs(trial);
        openings[0].tag = openings[1].tag;
        _expectOpeningWrong(trial, openings, 0);
        openings = _proofs(trial);
        openings[1].index = 2; // it is the first winner's, whoever reads it
        _expectOpeningWrong(trial, openings, 1);
        _close(trial, 1);
    }

    function test_close_twice() public {
        Trial memory trial = _slashed(1);
        _judge(trial, FOR_APPELLANT, 1);
        bytes32 books = _books();
        _expectOver(trial);
        vm.expectRevert(
            abi.encodeWithSelector(ICourt.Court_NotOpen.selector, market.jobId(trial.receipt.order))
        );
        _close(trial, 1);
        assertEq(_books(), books, "nothing moves again");
        bytes32 panelJob = market.jobId(court.panelOrder(trial.matter.order, trial.panel));
        assertEq(court.verdictOf(panelJob).endedAt, 0, "its verdict is gone");
    }

    /// @dev The appellant can say what its own answer was, if it was right.
    function test_close_silent() public {
        Trial memory trial = _slashed(1);
        _appeal(trial, _requester(2));
        _sit(trial, FOR_APPELLANT);
        uint256 until = vm.getBlockTimestamp() + PROOF_WINDOW;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_TooEarly.selector, until));
        _closeSilent(trial);
        vm.warp(until + 1);
        _closeSilent(trial);
        assertEq(_account(_appellant(trial)).faults, 1, "dismissed");
        assertEq(_free(TREASURY), BOND, "its slash stands");
        assertEq(_account(trial.receipt.replicas[1].operator).bond, STAKE, "nothing is proved of the winners");
        _assertSolvent();
    }

    // --- audits -------------------------------------------------------------------------------

    function test_audit_clean() public {
        Order memory order = _auditable(0, 1, 10_000);
        uint256 schedulerBefore = _free(scheduler);
        Trial memory trial = _enter(_seal(_draft(order)));
        address winner = _appellant(trial);
        uint64 worst = 3 * 1500 * 600;
        assertEq(order.fee, worst, "the fee pays for a certain audit");
        assertEq(_free(scheduler), schedulerBefore, "it is not the scheduler's yet");
        assertEq(court.fundOf(scheduler).current, worst, "but its fund's");
        assertEq(_account(winner).free, 1e6 + 300_000, "the winner is paid");
        assertEq(_locked(winner), BOND, "and answers for it");
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        assertEq(court.fundOf(scheduler).current, 0, "spent");
        _sit(trial, 0);
        _close(trial, 0);
        assertEq(court.fundOf(scheduler).current, worst - _panelPay(trial, 7), "what the auditors left");
        assertEq(_locked(winner), 0, "let go");
        assertEq(_account(winner).bond, STAKE, "nothing lost");
        assertEq(BUDGET - _budget(0), worst + 300_000, "the requester paid for the job and its fee");
        _expectOver(trial);
        _assertSolvent();
    }

    /// @dev One replica, and it lied: this is what one replica alone could never lose by.
    function test_audit_cheat() public {
        Order memory order = _auditable(0, 1, 10_000);
        Trial memory trial = _enter(_withLiar(order, 0));
        address cheat = _appellant(trial);
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        _sit(trial, 0);
        _close(trial, 0);
        assertEq(_account(cheat).bond, STAKE - BOND, "slashed");
        assertEq(_account(cheat).faults, 1, "a fault");
        assertEq(_locked(cheat), 0, "nothing more is held");
        assertEq(_budget(0), BUDGET, "the requester has everything back");
        assertEq(court.fundOf(scheduler).current, order.fee, "so has the fund");
        assertEq(
            _free(TREASURY), BOND - _panelPay(trial, 7) - order.fee - 300_000, "the rest is the treasury's"
        );
        assertEq(vault.escrow(address(court)), order.fee, "only the fund stays");
        _assertSolvent();
    }

    /// @dev A cheat that committed to nothing shows nothing: silence is no way out of an audit.
    function test_audit_cheatSilent() public {
        Order memory order = _auditable(0, 1, 10_000);
        Trial memory trial = _enter(_withLiar(order, 0));
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        _sit(trial, 0);
        _pass(PROOF_WINDOW + 1);
        _closeSilent(trial);
        assertEq(_account(_appellant(trial)).bond, STAKE - BOND, "slashed");
        assertEq(_budget(0), BUDGET, "the requester has everything back");
        _assertSolvent();
    }

    /// @dev Where the panel cannot agree nobody is wrong; the auditors' effort comes from the fund.
    function test_audit_noQuorum() public {
        Order memory order = _auditable(0, 1, 10_000);
        Trial memory trial = _enter(_seal(_draft(order)));
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        _sit(trial, 0x321);
        _closeSilent(trial);
        uint64 efforts = uint64(900) * 290 / 4 + uint64(901) * 291 / 4 + uint64(902) * 292 / 4;
        assertEq(court.fundOf(scheduler).current, order.fee - efforts, "the fund pays");
        assertEq(_account(_appellant(trial)).bond, STAKE, "nobody is slashed");
        assertEq(_locked(_appellant(trial)), 0, "let go");
        _assertSolvent();
    }

    /// @dev By chance, in the share that the order names, and nobody can know before.
    function test_audit_chance() public {
        uint256 drawn = 0;
        Order memory order = _auditable(0, 1, 2500);
        Trial memory trial = _enter(_seal(_draft(order)));
        uint256 number = court.auditBlock(trial.matter.enteredIn);
        assertTrue(number >= vm.getBlockNumber() + 64, "in the future");
        assertTrue(number <= vm.getBlockNumber() + 128, "soon");
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_SeedUnknown.selector, number));
        court.audit(trial.matter);
        _passAuditBlock(trial, "seed");
        for (uint256 i = 0; i < 400; ++i) {
            if (court.isDrawn(keccak256(abi.encode(i)), trial.matter.enteredIn, 2500)) ++drawn;
            assertTrue(!court.isDrawn(bytes32(i), trial.matter.enteredIn, 0), "never");
            assertTrue(court.isDrawn(bytes32(i), trial.matter.enteredIn, 10_000), "always");
        }
        assertTrue(drawn > 70 && drawn < 130, "a quarter of them");
    }

    function test_audit_notDrawn() public {
        Trial memory trial = _enter(_seal(_draft(_auditable(0, 1, 1))));
        bytes32 job = market.jobId(trial.receipt.order);
        bytes32 seed = keccak256("misses");
        _passAuditBlock(trial, "misses");
        assertTrue(uint256(keccak256(abi.encode(seed, job))) % 10_000 >= 1, "it misses");
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotDrawn.selector, job));
        court.audit(trial.matter);
    }

    function test_audit_keptSeed() public {
        Trial memory trial = _enter(_seal(_draft(_auditable(0, 1, 10_000))));
        uint256 number = court.auditBlock(trial.matter.enteredIn);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_SeedUnknown.selector, number));
        court.keepSeed(number);
        _passAuditBlock(trial, "kept");
        court.keepSeed(number);
        vm.roll(number + 10_000);
        court.keepSeed(number); // again does nothing
        _audit(trial);
        assertTrue(_caseState(trial) == CaseState.Called, "drawn by a hash that the chain forgot");
    }

    function test_audit_late() public {
        Trial memory trial = _enter(_seal(_draft(_auditable(0, 1, 10_000))));
        _passAuditBlock(trial, "drawn");
        _pass(APPEAL_WINDOW + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_TooLate.selector, vm.getBlockTimestamp() - 1));
        court.audit(trial.matter);
        court.release(trial.matter);
        _expectOver(trial);
    }

    /// @dev A fund that is empty pays for no audit, until somebody fills it.
    function test_audit_fundEmpty() public {
        Order memory order = _auditable(0, 1, 5000);
        Trial memory trial = _enterDrawn(order);
        uint64 worst = _panelCost(order);
        vm.expectRevert(
            abi.encodeWithSelector(ICourt.Court_FundTooSmall.selector, scheduler, worst / 2, worst)
        );
        court.audit(trial.matter);
        _topUp(worst / 2);
        _audit(trial);
        assertEq(court.fundOf(scheduler).current, 0, "all of it");
        _assertSolvent();
    }

    /// @dev Who names a scheduler and pays no fee must not drain its fund.
    function test_audit_feeTooSmall() public {
        Order memory order = _auditable(0, 1, 10_000);
        --order.fee;
        Trial memory trial = _enter(_seal(_draft(order)));
        _topUp(10e6);
        _passAuditBlock(trial, "drawn");
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_FeeTooSmall.selector, order.fee, order.fee + 1));
        court.audit(trial.matter);
    }

    /// @dev Its one stake answers for as many jobs as it covers; the next is not paid, and blocks nobody.
    function test_audit_unbacked() public {
        Order memory order = _order(0, 1);
        (order.auditBps, order.bond) = (100, STAKE);
        order.fee = uint64(uint256(_panelCost(order)) / 100);
        Receipt memory receipt = _draft(order);
        address bare = receipt.replicas[1].operator;
        vm.prank(address(road)); // another module holds some of its stake
        vault.lock(bare, 1);
        uint256 free = _free(bare);
        vm.recordLogs();
        _settle(_seal(receipt));
        Trial memory trial = _trialOf(receipt);
        assertEq(_free(bare), free, "not paid");
        assertEq(_locked(bare), 1, "nothing more is locked");
        assertEq(trial.matter.shares[1].amountOf(), 0, "as the court tells");
        for (uint256 i = 0; i < 3; i += 2) {
            address operator = receipt.replicas[i].operator;
            assertEq(_free(operator), 1e6 + receipt.replicas[i].rate * 307, "the others are");
            assertEq(_locked(operator), STAKE, "and answer for it");
        }
        assertEq(BUDGET - _budget(0), order.fee + 2002 * 307, "the requester keeps that part");
        _assertSolvent();
    }

    /// @dev The same in one batch: two jobs of one operator whose stake covers one.
    function test_audit_unbackedInBatch() public {
        Order memory order;
        Receipt[] memory receipts = new Receipt[](24);
        for (uint256 i = 0; i < 24; ++i) {
            order = _auditable(0, i, 100);
            order.bond = STAKE;
            receipts[i] = _seal(_draft(order));
        }
        market.settle(receipts);
        uint256 paid = 0;
        for (uint256 i = 0; i < OPERATORS; ++i) {
            Account memory books = _account(_operator(i));
            if (books.wins == 0) continue;
            assertEq(books.free, 1e6 + 300_000, "paid once, however often it won");
            assertEq(books.locked, STAKE, "for what it can answer for");
            ++paid;
        }
        assertTrue(paid > 3 && paid <= OPERATORS, "each winner once");
        assertEq(BUDGET - _budget(0), 24 * order.fee + paid * 300_000, "the rest stays with the requester");
        _assertSolvent();
    }

    /// @dev Leaving after the job, and before its audit: the stake stays until the audit can no longer come.
    function test_audit_noExit() public {
        Order memory order = _auditable(0, 1, 10_000);
        order.bond = STAKE;
        Trial memory trial = _enter(_withLiar(order, 0));
        address cheat = _appellant(trial);
        vm.prank(cheat);
        providers.unstake(CLASS, SEATS_EACH);
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        // The unbonding is long over, and nobody has closed the case.
        _pass(30 days);
        vm.expectRevert();
        vm.prank(cheat);
        providers.exit();
        court.unlock(cheat);
        assertEq(_locked(cheat), STAKE, "the case holds it");
        _closeSilent(trial); // nobody had come in time
        vm.prank(cheat);
        providers.exit();
        assertEq(_account(cheat).bond, 0, "then it leaves");
    }

    function test_audit_pledgeExpires() public {
        Order memory order = _auditable(0, 1, 100);
        order.bond = STAKE;
        vm.warp((vm.getBlockTimestamp() / 1 days + 1) * 1 days - 1); // the last second of an epoch
        order.expiry = uint64(vm.getBlockTimestamp());
        Trial memory trial = _enter(_seal(_draft(order)));
        address operator = _appellant(trial);
        assertEq(_locked(operator), STAKE, "pledged");
        _pass(APPEAL_WINDOW);
        court.unlock(operator);
        assertEq(_locked(operator), STAKE, "for as long as it may be drawn");
        _pass(1);
        court.unlock(operator);
        assertEq(_locked(operator), 0, "and no longer, without a word to the court");
        _assertSolvent();
    }

    /// @dev The next job of the same operator lets go of what has expired.
    function test_audit_pledgeRolls() public {
        uint64[4] memory bonds = [STAKE, STAKE, STAKE / 4, STAKE / 2];
        uint64[4] memory later = [uint64(0), 2 days, 2 days, 1 days];
        uint64[4] memory locked = [STAKE, STAKE, STAKE / 4, STAKE / 4 + STAKE / 2];
        address operator;
        for (uint256 i = 0; i < 4; ++i) {
            _pass(later[i]);
            Receipt memory receipt;
            for (uint256 nonce = 256 * i;; ++nonce) {
                Order memory order = _auditable(0, nonce, 100);
                order.bond = bonds[i];
                receipt = _draft(order);
                if (operator == address(0) || receipt.replicas[0].operator == operator) break;
            }
            operator = receipt.replicas[0].operator;
            _settle(_seal(receipt));
            assertEq(_locked(operator), locked[i], "what may still be drawn");
        }
        assertEq(_account(operator).free, 1e6 + 4 * 300_000, "each is paid");
        _pass(1 days);
        court.unlock(operator);
        assertEq(_locked(operator), STAKE / 2, "the older one is let go, the newer one is not");
    }

    /// @dev A slash in a job that is drawn too: one panel decides over both.
    function test_audit_alsoRights() public {
        Order memory order = _order(0, 1);
        order.auditBps = 10_000;
        order.fee = WORST;
        Trial memory trial = _enter(_withLiar(order, 0));
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        _sit(trial, FOR_APPELLANT);
        _close(trial, 1);
        assertEq(_free(_appellant(trial)), 1e6 + BOND, "its slash is back");
        for (uint256 i = 1; i < 3; ++i) {
            assertEq(_account(trial.receipt.replicas[i].operator).bond, STAKE - BOND, "slashed");
            assertEq(_locked(trial.receipt.replicas[i].operator), 0, "nothing more");
        }
        assertEq(_budget(0), BUDGET, "the requester has everything back");
        _assertSolvent();
    }

    /// @dev An appeal that shows nothing is no way around the audit of the winners.
    function test_audit_preemptedByAppeal() public {
        Order memory order = _order(0, 1);
        order.auditBps = 10_000;
        order.fee = WORST;
        Trial memory trial = _enter(_withLiar(order, 0));
        _appeal(trial, _requester(2));
        _sit(trial, 0x2222222);
        _pass(PROOF_WINDOW + 1);
        _closeSilent(trial);
        for (uint256 i = 1; i < 3; ++i) {
            assertEq(_account(trial.receipt.replicas[i].operator).bond, STAKE - BOND, "slashed");
        }
        Fund memory fund = court.fundOf(scheduler);
        assertEq(fund.settled + fund.previous + fund.current, WORST, "the fund had no part in it");
        _assertSolvent();
    }

    function test_audit_byRoad() public {
        Trial memory trial = _enterByRoad(_withLiar(_auditable(0, 1, 10_000), 0));
        address cheat = _appellant(trial);
        assertEq(_locked(cheat), BOND, "its bond answers on");
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        _sit(trial, 0);
        _close(trial, 0);
        assertEq(_account(cheat).bond, STAKE - BOND, "slashed");
        assertEq(_budget(0), BUDGET, "the requester has everything back");
        _assertSolvent();
    }

    // --- funds --------------------------------------------------------------------------------

    function test_fund_epochs() public {
        vm.warp((vm.getBlockTimestamp() / 1 days + 1) * 1 days - 1);
        _topUp(5e6);
        uint256 free = _free(scheduler);
        court.withdraw(scheduler);
        _pass(APPEAL_WINDOW);
        court.withdraw(scheduler);
        assertEq(_free(scheduler), free, "jobs of its time may still be drawn");
        _topUp(2e6);
        _pass(1);
        court.withdraw(scheduler);
        assertEq(_free(scheduler), free + 5e6, "what came in before a full epoch");
        assertEq(court.fundOf(scheduler).previous, 2e6, "the rest waits");
        _pass(10 days);
        court.withdraw(scheduler);
        assertEq(_free(scheduler), free + 7e6, "all of it, by anybody's call");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _assertSolvent();
    }

    /// @dev What the scheduler could take is spent first.
    function test_fund_oldestFirst() public {
        Order memory order = _auditable(0, 1, 10_000);
        uint64 worst = _panelCost(order);
        _topUp(worst - 5);
        _pass(1 days);
        _topUp(3);
        _pass(1 days);
        seedBlock = 0;
        _nextSeed("later");
        order = _auditable(0, 1, 10_000);
        Trial memory trial = _enter(_seal(_draft(order)));
        _passAuditBlock(trial, "drawn");
        _audit(trial);
        assertEq(court.fundOf(scheduler).settled, 0, "first");
        assertEq(court.fundOf(scheduler).previous, 0, "second");
        assertEq(court.fundOf(scheduler).current, worst - 2, "last");
    }

    // --- escalation ---------------------------------------------------------------------------

    function test_escalate() public {
        Trial memory trial = _split(1);
        assertTrue(_caseState(trial) == CaseState.Split, "it may be escalated");
        uint256 budget = _budget(0);
        uint256 free = _free(trial.receipt.replicas[0].operator);
        _escalate(trial);
        assertEq(_budget(0), budget - WORST, "the worst cost is set aside");
        _sit(trial, 0x1111111);
        _closeSilent(trial);
        assertEq(_budget(0), budget - _panelPay(trial, 127), "the rest is back");
        assertEq(_free(trial.receipt.replicas[0].operator), free, "the first round had its effort paid");
        assertEq(_account(trial.receipt.replicas[0].operator).bond, STAKE, "and proved nothing");
        assertEq(vault.escrow(address(court)), 0, "nothing stays");
        _expectOver(trial);
        _assertSolvent();
    }

    function test_escalate_noQuorum() public {
        Trial memory trial = _split(1);
        uint256 budget = _budget(0);
        _escalate(trial);
        _sit(trial, 0x7654321);
        _closeSilent(trial);
        uint64 efforts = 0;
        for (uint64 i = 0; i < 7; ++i) {
            efforts += (900 + i) * (290 + i) / 4;
        }
        assertEq(_budget(0), budget - efforts, "effort and refund");
        _expectOver(trial);
    }

    function test_escalate_nobodyCame() public {
        Trial memory trial = _split(1);
        uint256 budget = _budget(0);
        _escalate(trial);
        vm.warp(trial.panel.expiry + 1);
        _closeSilent(trial);
        assertEq(_budget(0), budget, "all is back");
    }

    function test_escalate_budget() public {
        Trial memory trial = _split(1);
        bytes32 job = market.jobId(trial.receipt.order);
        vm.prank(_requester(0));
        vault.close(scheduler);
        _pass(1 days);
        uint256 until = vm.getBlockTimestamp() - 1 days + APPEAL_WINDOW;
        assertEq(until, vm.getBlockTimestamp(), "the last second");
        vm.prank(_requester(0));
        vault.reclaim(scheduler);
        vm.expectRevert(
            abi.encodeWithSelector(
                IVault.Vault_BudgetTooSmall.selector, _requester(0), scheduler, uint64(0), WORST
            )
        );
        court.escalate(trial.matter);
        _pass(1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_TooLate.selector, until));
        court.escalate(trial.matter);
        court.release(trial.matter);
        _expectOver(trial);
        assertEq(uint256(court.caseOf(job).state), 0, "over");
    }

    function test_escalate_onlySplit() public {
        Trial memory trial = _split(1);
        bytes32 job = market.jobId(trial.receipt.order);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job));
        vm.prank(_requester(2));
        court.appeal(trial.matter);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job));
        court.audit(trial.matter);
        _escalate(trial);
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job));
        court.escalate(trial.matter);
    }

    function test_escalate_byRoad() public {
        Order memory order = _order(0, 1);
        order.escalate = true;
        Receipt memory receipt = _splitReceipt(order);
        Trial memory trial = _enterByRoad(receipt);
        uint256 budget = _budget(0);
        _escalate(trial);
        _sit(trial, 0);
        _closeSilent(trial);
        assertEq(_budget(0), budget - _panelPay(trial, 127), "as by receipt");
        _assertSolvent();
    }

    /// @dev Too few came to contradict each other: there was nothing to decide.
    function test_escalate_notOfTooFew() public {
        Order memory order = _order(0, 1);
        order.escalate = true;
        Receipt memory receipt = _splitReceipt(order);
        _open(receipt, 1);
        vm.warp(_deadlineOf(receipt) + ROAD_WINDOW + 1);
        _finalize(receipt, 1, 0);
        assertTrue(court.caseOf(market.jobId(order)).state == CaseState.None, "no case");
    }

    // --- helpers ------------------------------------------------------------------------------

    /// @dev Replica 0 said something else than the two others and was slashed.
    function _slashed(uint256 nonce) private returns (Trial memory) {
        return _enter(_withLiar(_order(0, nonce), 0));
    }

    function _split(uint256 nonce) private returns (Trial memory) {
        Order memory order = _order(0, nonce);
        order.escalate = true;
        return _enter(_splitReceipt(order));
    }

    function _splitReceipt(Order memory order) private view returns (Receipt memory receipt) {
        receipt = _draft(order);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = _answer(market.jobId(order), i);
        }
        return _seal(receipt);
    }

    function _appellant(Trial memory trial) private pure returns (address) {
        return trial.receipt.replicas[0].operator;
    }

    /// @dev An appeal from call to close, paid by somebody who has nothing else to do with it.
    function _judge(Trial memory trial, uint256 answers, uint256 verdict) private {
        _judgeBy(trial, answers, ALL, ALL);
        _close(trial, verdict);
    }

    function _judgeBy(Trial memory trial, uint256 answers, uint256 entered, uint256 revealed) private {
        _appeal(trial, _requester(2));
        _draw(trial, answers);
        entered &= (1 << trial.sitting.replicas.length) - 1;
        _join(trial, 0, entered);
        _sitOut(trial, entered, revealed);
    }

    /// @dev What came back to the first replica's operator.
    function _backOf(Trial memory trial) private view returns (uint256) {
        return _free(_appellant(trial)) - 1e6;
    }

    function _moreOperators(uint256 first, uint256 count) private {
        for (uint256 i = first; i < first + count; ++i) {
            _newOperator(i, SEATS_EACH);
        }
        _nextSeed("more");
    }

    /// @dev An operator of the first round that the panel's draw names too.
    function _drawnAgain(Trial memory trial) private view returns (address, uint8) {
        Order memory order = trial.sitting.order;
        address[] memory drawn =
            providers.draw(order.hardwareClass, order.seedBlock, market.jobId(order), order.maxTicket);
        uint8 ticket = 0;
        while (!_hasPart(trial, drawn[ticket])) ++ticket;
        return (drawn[ticket], ticket);
    }

    /// @dev Nothing can be done with it again.
    function _expectOver(Trial memory trial) private {
        bytes32 job = market.jobId(trial.receipt.order);
        assertTrue(_caseState(trial) == CaseState.None, "over");
        bytes memory reason = abi.encodeWithSelector(ICourt.Court_NotOpen.selector, job);
        vm.expectRevert(reason);
        court.release(trial.matter);
        vm.expectRevert(reason);
        court.appeal(trial.matter);
        vm.expectRevert(reason);
        court.audit(trial.matter);
        vm.expectRevert(reason);
        court.escalate(trial.matter);
        vm.expectRevert(reason);
        _closeSilent(trial);
    }

    function _expectOpeningWrong(Trial memory trial, Opening[] memory openings, uint256 index) private {
        vm.expectRevert(abi.encodeWithSelector(ICourt.Court_OpeningWrong.selector, index));
        court.close(trial.matter, trial.panel, openings, _output(1));
    }

    /// @dev Enters jobs of this kind until the chosen hash draws one.
    function _enterDrawn(Order memory order) private returns (Trial memory trial) {
        bytes32 seed = keccak256("drawn");
        while (uint256(keccak256(abi.encode(seed, market.jobId(order)))) % 10_000 >= order.auditBps) {
            ++order.nonce;
        }
        trial = _enter(_seal(_draft(order)));
        _passAuditBlock(trial, "drawn");
    }
}
