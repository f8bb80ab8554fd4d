// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IProviders} from "../../src/interfaces/IProviders.sol";
import {IRoad} from "../../src/interfaces/IRoad.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Tally} from "../../src/libraries/Tally.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {Commit, Entry, Opening, RoadJob, RoadState} from "../../src/types/Roads.sol";
import {Share, ShareKind} from "../../src/types/Share.sol";
import {Sums} from "../../src/types/Sums.sol";
import {RoadFixture} from "../utils/RoadFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @dev See Road.tree. Rates are 1000, 1001, 1002, seconds 300, 307, 314 unless a test says otherwise.
contract RoadTest is RoadFixture {
    uint64 private constant FEE = 2000;
    uint64 private constant BOND = 50e6;
    uint64 private constant STAKE = uint64(SEATS_EACH) * SEAT;

    // --- opening ------------------------------------------------------------------------------

    function test_open() public {
        Receipt memory receipt = _honest(0, 1);
        bytes32 job = market.jobId(receipt.order);
        vm.recordLogs();
        _open(receipt, 3);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 3, "one for the job and one for each commit");
        assertEq(logs[0].topics[0], IRoad.RoadOpened.selector, "opened");
        assertEq(logs[0].topics[1], job, "the job");
        assertEq(
            keccak256(logs[0].data),
            keccak256(abi.encode(ROUND, vm.getBlockTimestamp() + ROAD_WINDOW, false)),
            "round, deadline, not fixed"
        );
        Replica memory first = receipt.replicas[0];
        assertEq(logs[1].topics[0], IRoad.ProviderCommitted.selector, "committed");
        assertEq(address(uint160(uint256(logs[1].topics[2]))), first.operator, "by whom");
        assertEq(
            keccak256(logs[1].data),
            keccak256(abi.encode(first.ticket, first.rate, _commitment(receipt, 0))),
            "ticket, rate, commitment"
        );
        assertTrue(_stateOf(receipt) == RoadState.Committing, "others may join");
        uint64 cost = _worstCost(receipt.order);
        assertEq(BUDGET - _budget(0), cost, "the worst cost is set aside");
        assertEq(vault.escrow(address(road)), cost, "for this job");
        assertTrue(vault.nonceUsed(_requester(0), 1), "the nonce is spent");
        assertEq(_locked(first.operator), BOND, "a bond");
        assertEq(_locked(receipt.replicas[2].operator), 0, "not of who did not commit");
        _assertSolvent();
    }

    function test_open_window() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 1);
        assertEq(_deadlineOf(receipt), vm.getBlockTimestamp() + ROAD_WINDOW, "at least the window");
        Order memory order = _order(0, 2);
        order.expiry = uint64(vm.getBlockTimestamp() + 12 hours);
        receipt = _seal(_draft(order));
        _open(receipt, 1);
        assertEq(_deadlineOf(receipt), order.expiry, "as long as the order has time");
    }

    function test_open_order() public {
        Order memory order = _order(0, 1);
        order.replicas = 0;
        order.quorum = 0;
        _assertOrderRefused(order, abi.encodePacked(IRoad.Road_ReplicaCountInvalid.selector));
        order.replicas = 9;
        order.quorum = 5;
        _assertOrderRefused(order, abi.encodePacked(IRoad.Road_ReplicaCountInvalid.selector));
        order.replicas = 3;
        order.quorum = 1;
        _assertOrderRefused(order, abi.encodePacked(IRoad.Road_QuorumInvalid.selector));
        order.quorum = 4;
        _assertOrderRefused(order, abi.encodePacked(IRoad.Road_QuorumInvalid.selector));
        order.quorum = 2;
        order.expiry = uint64(vm.getBlockTimestamp() - 1);
        _assertOrderRefused(order, abi.encodeWithSelector(IRoad.Road_OrderExpired.selector, order.expiry));
        order.expiry = uint64(vm.getBlockTimestamp() + 12 hours + 1);
        _assertOrderRefused(order, abi.encodeWithSelector(IRoad.Road_ExpiryTooFar.selector, order.expiry));
        order.expiry = uint64(vm.getBlockTimestamp());
        (order.maxRate, order.maxSeconds) = (type(uint64).max / 3 / 600 + 1, 600);
        uint256 cost = uint256(order.maxRate) * 600 * 3 + FEE;
        _assertOrderRefused(order, abi.encodeWithSelector(IRoad.Road_CostTooHigh.selector, cost));
        (order.maxRate, order.maxSeconds, order.fee) = (type(uint64).max, type(uint32).max, type(uint64).max);
        cost = uint256(order.maxRate) * order.maxSeconds * 3 + order.fee;
        _assertOrderRefused(order, abi.encodeWithSelector(IRoad.Road_CostTooHigh.selector, cost));
    }

    function test_open_lastSecond() public {
        Receipt memory receipt = _honest(0, 1);
        vm.warp(receipt.order.expiry);
        _open(receipt, 1);
        assertTrue(_stateOf(receipt) == RoadState.Committing, "in time");
    }

    function test_open_registeredKey() public {
        Receipt memory receipt = _honest(0, 1);
        receipt.requesterSig = _sign(0x6000, market.jobId(receipt.order));
        _assertRefused(_openCall(receipt, 7, ""), IRoad.Road_RequesterSignatureInvalid.selector);
        vm.prank(_requester(0));
        providers.setSigner(vm.addr(0x6000));
        _open(receipt, 7);
        assertTrue(_stateOf(receipt) == RoadState.Committing, "open");
    }

    function test_open_signature() public {
        Receipt memory receipt = _honest(0, 1);
        bytes memory good = receipt.requesterSig;
        receipt.requesterSig = _sign(keyOf[_requester(1)], market.jobId(receipt.order));
        _assertRefused(_openCall(receipt, 7, ""), IRoad.Road_RequesterSignatureInvalid.selector);
        receipt.requesterSig = "";
        _assertRefused(_openCall(receipt, 7, ""), IRoad.Road_RequesterSignatureInvalid.selector);
        receipt.order.requester = address(0); // what a bad signature recovers to
        receipt.requesterSig = good;
        _assertRefused(_openCall(receipt, 7, ""), IRoad.Road_RequesterSignatureInvalid.selector);
    }

    function test_open_noCommit() public {
        Receipt memory receipt = _honest(0, 1);
        vm.prank(_requester(0));
        _assertRefused(_openCall(receipt, 0, ""), IRoad.Road_NoCommit.selector);
    }

    function test_open_tooMany() public {
        Order memory order = _order(0, 1);
        order.replicas = 4;
        order.quorum = 3;
        Receipt memory receipt = _seal(_draft(order));
        Commit[] memory commits = _commits(receipt, 15);
        order.replicas = 3;
        order.quorum = 2;
        address fourth = commits[3].operator;
        bytes memory sig = _sign(keyOf[order.requester], market.jobId(order));
        _assertRefused(
            abi.encodeCall(IRoad.open, (order, sig, ROUND, commits, "")),
            abi.encodeWithSelector(IRoad.Road_NoPlaceLeft.selector, fourth)
        );
        // Nor the other way round, where the first would be displaced before its bond is locked.
        (commits[0], commits[3]) = (commits[3], commits[0]);
        _assertRefused(
            abi.encodeCall(IRoad.open, (order, sig, ROUND, commits, "")),
            abi.encodeWithSelector(IRoad.Road_NoPlaceLeft.selector, commits[3].operator)
        );
    }

    function test_open_budget() public {
        Order memory order = _order(0, 1);
        order.fee = BUDGET;
        Receipt memory receipt = _seal(_draft(order));
        bytes memory reason = abi.encodeWithSelector(
            IVault.Vault_BudgetTooSmall.selector, _requester(0), scheduler, BUDGET, _worstCost(order)
        );
        _assertRefused(_openCall(receipt, 7, ""), reason);
        assertTrue(!vault.nonceUsed(_requester(0), 1), "the nonce is not spent");
    }

    function test_open_twice() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 1);
        bytes memory spent = abi.encodeWithSelector(IVault.Vault_NonceSpent.selector, _requester(0), 1);
        _assertRefused(_openCall(receipt, 2, ""), spent);
        _commit(receipt, 1, 6);
        vm.warp(_deadlineOf(receipt) + 1);
        _finalize(receipt, 7, 7);
        // Over is over, also where the order's time is not.
        _assertRefused(
            _openCall(receipt, 1, ""),
            abi.encodeWithSelector(IRoad.Road_OrderExpired.selector, receipt.order.expiry)
        );
    }

    // --- with the scheduler's own set ---------------------------------------------------------

    function test_fixed() public {
        Receipt memory receipt = _honest(0, 1);
        vm.recordLogs();
        _openFixed(receipt);
        uint256 deadline = vm.getBlockTimestamp() + ROAD_WINDOW;
        assertEq(
            keccak256(vm.getRecordedLogs()[0].data),
            keccak256(abi.encode(ROUND, deadline, true)),
            "round, deadline, fixed"
        );
        assertTrue(_stateOf(receipt) == RoadState.Revealing, "at once");
        assertEq(_deadlineOf(receipt), deadline, "until when");
        _finalize(receipt, 7, 7);
        assertTrue(_stateOf(receipt) == RoadState.Settled, "two transactions, no waiting");
    }

    function test_fixed_signature() public {
        Receipt memory receipt = _honest(0, 1);
        Receipt memory other = _honest(0, 2);
        bytes memory good = _setSig(receipt, ALL);
        _assertRefused(_openCall(receipt, 3, good), IRoad.Road_SetIncomplete.selector);
        bytes4 reason = IRoad.Road_SetSignatureInvalid.selector;
        _assertRefused(_openCall(receipt, ALL, _setSig(receipt, 3)), reason);
        _assertRefused(_openCall(receipt, ALL, _setSig(other, ALL)), reason);
        _assertRefused(_openCall(receipt, ALL, hex"00"), reason);
        keyOf[scheduler] = keyOf[_requester(0)];
        _assertRefused(_openCall(receipt, ALL, _setSig(receipt, ALL)), reason);
    }

    function test_fixed_round() public {
        Receipt memory receipt = _honest(0, 1);
        Commit[] memory commits = _commits(receipt, ALL);
        bytes memory setSig = _setSig(receipt, ALL);
        // Commits and set of one round are not those of another.
        bytes memory step =
            abi.encodeCall(IRoad.open, (receipt.order, receipt.requesterSig, ROUND + 1, commits, setSig));
        _assertRefused(step, IRoad.Road_SignerNotRegistered.selector);
    }

    // --- committing ---------------------------------------------------------------------------

    function test_commit_byKey() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 1);
        Commit[] memory commits = new Commit[](1);
        commits[0] = _unsigned(receipt, 1);
        bytes memory step =
            abi.encodeCall(IRoad.commit, (receipt.order, ROUND, _entries(receipt, 1), commits));
        _assertRefused(step, IRoad.Road_SignerNotRegistered.selector); // this contract is nobody's key
        vm.startPrank(vm.addr(signerKeyOf[receipt.replicas[2].operator]));
        _assertRefused(step, IRoad.Road_SignerNotRegistered.selector);
        vm.stopPrank();
        vm.startPrank(vm.addr(signerKeyOf[receipt.replicas[1].operator]));
        _take(step);
        vm.stopPrank();
        assertEq(_locked(receipt.replicas[1].operator), BOND, "in");
    }

    function test_commit_tampered() public {
        Receipt memory receipt = _honest(0, 1);
        for (uint256 member = 0; member < 6; ++member) {
            Commit[] memory commits = _commits(receipt, 1);
            Commit memory one = commits[0];
            if (member == 0) one.rate += 1;
            if (member == 1) one.commitment = keccak256("another answer");
            if (member == 2) one.r = bytes32(uint256(one.r) ^ 1);
            if (member == 3) one.s = bytes32(uint256(one.s) ^ 1);
            if (member == 4) (one.s, one.v) = (bytes32(CURVE_ORDER - uint256(one.s)), one.v ^ 7); // 27 and 28
            if (member == 5) one.v = 29;
            // solhint-disable-next-line avoid-low-level-calls
            (bool done, bytes memory answer) = address(road)
                .call(abi.encodeCall(IRoad.open, (receipt.order, receipt.requesterSig, ROUND, commits, "")));
            assertTrue(!done, "refused");
            bytes4 reason = bytes4(answer);
            assertTrue(
                reason == IRoad.Road_SignerNotRegistered.selector
                    || reason == IRoad.Road_CommitSignatureInvalid.selector,
                "as not signed"
            );
        }
    }

    function test_commit_terms() public {
        Receipt memory receipt = _draft(_order(0, 1));
        Replica memory first = receipt.replicas[0];
        first.rate = receipt.order.maxRate + 1;
        _assertRefused(
            _openCall(_seal(receipt), 1, ""),
            abi.encodeWithSelector(IRoad.Road_RateTooHigh.selector, first.operator)
        );
        first.rate = receipt.order.maxRate;
        first.ticket = receipt.order.maxTicket + 1;
        _assertRefused(
            _openCall(_seal(receipt), 1, ""),
            abi.encodeWithSelector(IRoad.Road_TicketTooHigh.selector, first.operator)
        );
    }

    function test_commit_notDrawn() public {
        Receipt memory receipt = _honest(0, 1);
        receipt.replicas[0].operator = receipt.replicas[1].operator;
        _assertRefused(_openCall(receipt, 1, ""), IRoad.Road_OperatorNotDrawn.selector);
        Commit[] memory commits = _commits(receipt, 1);
        commits[0].operator = address(0); // whom an empty class draws
        _assertRefused(
            abi.encodeCall(IRoad.open, (receipt.order, receipt.requesterSig, ROUND, commits, "")),
            IRoad.Road_OperatorNotDrawn.selector
        );
    }

    function test_commit_formerSigner() public {
        Receipt memory receipt = _honest(0, 1);
        address operator = receipt.replicas[0].operator;
        vm.prank(operator);
        providers.setSigner(vm.addr(0x5151));
        vm.warp(vm.getBlockTimestamp() + 1 days + 12 hours);
        Order memory order = receipt.order;
        order.expiry = uint64(vm.getBlockTimestamp() + 1);
        receipt = _draftUntil(order, operator);
        _assertRefused(_openCall(_seal(receipt), 1, ""), IRoad.Road_SignerNotRegistered.selector);
        signerKeyOf[operator] = 0x5151;
        _open(_seal(receipt), 1);
    }

    function test_commit_operatorTwice() public {
        Receipt memory receipt = _draft(_order(0, 1));
        Replica memory first = receipt.replicas[0];
        address[] memory drawn =
            providers.draw(CLASS, seedBlock, market.jobId(receipt.order), receipt.order.maxTicket);
        uint256 again = first.ticket + 1;
        while (drawn[again] != first.operator) ++again; // its other seat
        (receipt.replicas[1].operator, receipt.replicas[1].ticket) = (first.operator, uint8(again));
        receipt = _seal(receipt);
        bytes memory reason = abi.encodeWithSelector(IRoad.Road_OperatorTwice.selector, first.operator);
        _assertRefused(_openCall(receipt, 3, ""), reason);
        _open(receipt, 1);
        _assertRefused(_commitCall(receipt, 1, 2), reason);
        assertEq(_locked(first.operator), BOND, "one bond for one vote");
    }

    function test_commit_late() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 1);
        uint256 deadline = _deadlineOf(receipt);
        vm.warp(deadline);
        _commit(receipt, 1, 2);
        vm.warp(deadline + 1);
        _assertRefused(
            _commitCall(receipt, 3, 4), abi.encodeWithSelector(IRoad.Road_TooLate.selector, deadline)
        );
    }

    function test_commit_fixedSet() public {
        Receipt memory receipt = _draftHigh(_order(0, 1));
        _openFixed(receipt);
        Receipt memory low = _seal(_draft(receipt.order));
        bytes32 job = market.jobId(receipt.order);
        Entry[] memory entries = _entries(receipt, ALL);
        bytes memory step = abi.encodeCall(IRoad.commit, (low.order, ROUND, entries, _commits(low, 1)));
        _assertRefused(step, abi.encodeWithSelector(IRoad.Road_NotCommitting.selector, job));
    }

    /// @dev Friends far down the draw take all places first: those whom it prefers get them back.
    function test_commit_displaces() public {
        Receipt memory high = _draftHigh(_order(0, 1));
        Receipt memory low = _seal(_draft(high.order));
        _open(high, 7);
        assertTrue(_stateOf(high) == RoadState.Committing, "taken, but not fixed");
        Entry[] memory entries = _entries(high, 7);
        vm.recordLogs();
        road.commit(low.order, ROUND, entries, _commits(low, 3));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 4, "two in, two out");
        assertEq(logs[2].topics[0], IRoad.ProviderDisplaced.selector, "displaced");
        assertEq(address(uint160(uint256(logs[2].topics[2]))), high.replicas[2].operator, "the last first");
        assertEq(_locked(high.replicas[2].operator), 0, "let go");
        assertEq(_locked(high.replicas[1].operator), 0, "let go");
        assertEq(_locked(high.replicas[0].operator), BOND, "still in");
        Entry[] memory both = _entries(low, 7);
        both[2] = entries[0];
        // No place is left for a higher ticket, and the entries say so.
        _assertRefused(
            abi.encodeCall(IRoad.commit, (high.order, ROUND, both, _commits(high, 2))),
            abi.encodeWithSelector(IRoad.Road_NoPlaceLeft.selector, high.replicas[1].operator)
        );
        road.commit(low.order, ROUND, both, _commits(low, 4));
        vm.warp(_deadlineOf(low) + 1);
        _finalize(low, 7, 7);
        assertEq(_account(low.replicas[0].operator).wins, 1, "the draw's own");
        assertEq(_account(high.replicas[0].operator).wins, 0, "not the friends");
        assertEq(_locked(high.replicas[0].operator), 0, "nothing is left locked");
        _assertSolvent();
    }

    function test_commit_seed() public {
        Receipt memory receipt = _honest(0, 1);
        receipt.order.seedBlock = uint64(vm.getBlockNumber());
        _assertRefused(_openCall(_seal(receipt), 1, ""), IRoad.Road_SeedUnknown.selector);
        providers.keepSeed(CLASS, seedBlock);
        Order memory order = _order(0, 2);
        order.expiry = uint64(vm.getBlockTimestamp() + 12 hours);
        receipt = _seal(_draft(order));
        vm.warp(order.expiry);
        vm.roll(seedBlock + 10_000);
        _open(receipt, 1);
        _pass(ROAD_WINDOW);
        _commit(receipt, 1, 2); // a kept seed lasts as long as the road may
        Receipt memory late = _honest(0, 3);
        vm.warp(order.expiry + 2 * ROAD_WINDOW + 1);
        late.order.expiry = uint64(vm.getBlockTimestamp());
        _assertRefused(_openCall(_seal(late), 1, ""), IRoad.Road_SeedTooOld.selector);
    }

    function test_commit_overcommitted() public {
        uint64 bond = STAKE / 2 + 1;
        Order memory order = _order(0, 1);
        order.bond = bond;
        Receipt memory first = _seal(_draft(order));
        _open(first, 1);
        address operator = first.replicas[0].operator;
        order = _order(0, 2);
        order.bond = bond;
        Receipt memory second = _draftUntil(order, operator);
        second = _seal(second);
        bytes memory reason =
            abi.encodeWithSelector(IVault.Vault_StakeLocked.selector, operator, STAKE - bond, bond);
        _assertRefused(_openCall(second, 7, ""), reason);
        _open(second, 6); // the others go on without it
        assertEq(_locked(operator), bond, "one promise");
    }

    function test_commit_otherJob() public {
        Receipt memory first = _honest(0, 1);
        Receipt memory second = _honest(0, 2);
        Commit[] memory commits = _commits(first, 1);
        bytes memory step =
            abi.encodeCall(IRoad.open, (second.order, second.requesterSig, ROUND, commits, ""));
        // solhint-disable-next-line avoid-low-level-calls
        (bool done,) = address(road).call(step);
        assertTrue(!done, "a commit is one job's");
        commits = _commits(second, 1);
        vm.chainId(31_338); // a fork, where the requester signs the order too
        bytes memory sig = _sign(keyOf[second.order.requester], market.jobId(second.order));
        step = abi.encodeCall(IRoad.open, (second.order, sig, ROUND, commits, ""));
        // solhint-disable-next-line avoid-low-level-calls
        (done,) = address(road).call(step);
        assertTrue(!done, "and one chain's");
    }

    // --- revealing ----------------------------------------------------------------------------

    function test_reveal_tooEarly() public {
        Receipt memory receipt = _honest(0, 1);
        bytes32 job = market.jobId(receipt.order);
        _open(receipt, 7);
        // All places are taken, and still a lower ticket may come: nobody shows an answer yet.
        bytes memory reason = abi.encodeWithSelector(IRoad.Road_NotRevealing.selector, job);
        _assertRefused(_revealCall(receipt, 7, 1), reason);
        vm.warp(_deadlineOf(receipt));
        _assertRefused(_revealCall(receipt, 7, 1), reason);
        _pass(1);
        vm.recordLogs();
        _reveal(receipt, 7, 1);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Replica memory first = receipt.replicas[0];
        assertEq(logs.length, 1, "one");
        assertEq(logs[0].topics[0], IRoad.ProviderRevealed.selector, "revealed");
        assertEq(address(uint160(uint256(logs[0].topics[2]))), first.operator, "whose");
        assertEq(keccak256(logs[0].data), keccak256(abi.encode(first.tag, first.secs, first.salt)), "what");
    }

    function test_reveal_late() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 7);
        uint256 deadline = _deadlineOf(receipt) + ROAD_WINDOW;
        vm.warp(deadline);
        _reveal(receipt, 7, 1);
        assertEq(_deadlineOf(receipt), deadline, "as if somebody had said so at the commit deadline");
        _pass(1);
        bytes memory reason = abi.encodeWithSelector(IRoad.Road_TooLate.selector, deadline);
        _assertRefused(_revealCall(receipt, 7, 2), reason);
        _assertRefused(_finalizeCall(receipt, 7, 7), reason);
        _finalize(receipt, 7, 1);
        assertEq(_account(receipt.replicas[1].operator).bond, STAKE - BOND, "late is silent");
    }

    function test_reveal_twice() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        _reveal(receipt, 7, 3);
        vm.recordLogs();
        _reveal(receipt, 7, 7);
        assertEq(vm.getRecordedLogs().length, 1, "only what is new");
        assertEq(road.jobs(market.jobId(receipt.order)).revealed, 7, "all of them");
    }

    function test_reveal_wrong() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        bytes32 job = market.jobId(receipt.order);
        Entry[] memory entries = _entries(receipt, 7);
        for (uint256 member = 0; member < 4; ++member) {
            Opening[] memory openings = _openings(receipt, 7, 1);
            if (member == 0) openings[0].index = 1;
            if (member == 1) openings[0].secs += 1;
            if (member == 2) openings[0].tag = keccak256("another");
            if (member == 3) openings[0].salt = keccak256("another");
            bytes memory reason = abi.encodeWithSelector(IRoad.Road_OpeningWrong.selector, openings[0].index);
            _assertRefused(abi.encodeCall(IRoad.reveal, (job, ROUND, entries, openings)), reason);
        }
        Opening[] memory beyond = _openings(receipt, 7, 1);
        beyond[0].index = 3;
        _assertRefused(
            abi.encodeCall(IRoad.reveal, (job, ROUND, entries, beyond)),
            abi.encodeWithSelector(IRoad.Road_OpeningWrong.selector, 3)
        );
    }

    /// @dev Whoever copies another's commitment can never open it: it names its operator.
    function test_reveal_copiedCommit() public {
        Receipt memory receipt = _honest(0, 1);
        address thief = receipt.replicas[1].operator;
        Commit[] memory commits = new Commit[](1);
        commits[0] = _unsigned(receipt, 1);
        commits[0].commitment = _commitment(receipt, 0);
        _open(receipt, 1);
        Entry[] memory entries = _entries(receipt, 1);
        vm.prank(vm.addr(signerKeyOf[thief]));
        road.commit(receipt.order, ROUND, entries, commits);
        entries = _entries(receipt, 3);
        entries[1].commitment = commits[0].commitment;
        vm.warp(_deadlineOf(receipt) + 1);
        bytes32 job = market.jobId(receipt.order);
        Opening[] memory openings = _openings(receipt, 1, 1);
        road.reveal(job, ROUND, entries, openings);
        openings[0].index = 1;
        _assertRefused(
            abi.encodeCall(IRoad.reveal, (job, ROUND, entries, openings)),
            abi.encodeWithSelector(IRoad.Road_OpeningWrong.selector, 1)
        );
        _pass(ROAD_WINDOW);
        openings[0].index = 0;
        road.finalize(receipt.order, ROUND, entries, openings);
        assertEq(_account(thief).bond, STAKE - BOND, "silent, so slashed");
    }

    /// @dev A reveal that waits in the mempool is of no use to a commit: the set is fixed before the first.
    function test_reveal_copiedAnswer() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 3);
        vm.warp(_deadlineOf(receipt) + 1);
        bytes memory late = abi.encodeWithSelector(IRoad.Road_TooLate.selector, _deadlineOf(receipt));
        _assertRefused(_commitCall(receipt, 3, 4), late); // the same answer, now known
        _reveal(receipt, 3, 1);
        bytes memory reason =
            abi.encodeWithSelector(IRoad.Road_NotCommitting.selector, market.jobId(receipt.order));
        _assertRefused(_commitCall(receipt, 3, 4), reason);
    }

    function test_context() public {
        Receipt memory receipt = _honest(0, 1);
        bytes32 job = market.jobId(receipt.order);
        _openFixed(receipt);
        bytes memory reason = abi.encodeWithSelector(IRoad.Road_ContextWrong.selector, job);
        Opening[] memory openings = _openings(receipt, 7, 7);
        for (uint256 member = 0; member < 6; ++member) {
            Entry[] memory entries = _entries(receipt, 7);
            uint32 round = ROUND;
            if (member == 0) round += 1;
            if (member == 1) entries[0].operator = receipt.replicas[1].operator;
            if (member == 2) entries[1].rate += 1;
            if (member == 3) entries[2].commitment = keccak256("another");
            if (member == 4) entries[0].ticket += 1;
            if (member == 5) (entries[0], entries[1]) = (entries[1], entries[0]);
            _assertRefused(abi.encodeCall(IRoad.reveal, (job, round, entries, openings)), reason);
            _assertRefused(abi.encodeCall(IRoad.finalize, (receipt.order, round, entries, openings)), reason);
            _assertRefused(abi.encodeCall(IRoad.settle, (receipt, round, entries)), reason);
        }
        _assertRefused(_revealCall(receipt, 3, 3), reason);
    }

    // --- ending -------------------------------------------------------------------------------

    function test_finalize_pays() public {
        Receipt memory receipt = _honest(0, 1);
        uint256[] memory before = _freeOf(receipt);
        uint256 schedulerBefore = _free(scheduler);
        _openFixed(receipt);
        _finalize(receipt, 7, 7);
        uint256 cost = FEE;
        for (uint256 i = 0; i < 3; ++i) {
            address operator = receipt.replicas[i].operator;
            assertEq(_free(operator) - before[i], (1000 + i) * 307, "own rate, the median's seconds");
            assertEq(_account(operator).wins, 1, "a win");
            assertEq(_locked(operator), 0, "let go");
            assertEq(_account(operator).bond, STAKE, "whole");
            cost += (1000 + i) * 307;
        }
        assertEq(_free(scheduler) - schedulerBefore, FEE, "the fee");
        assertEq(BUDGET - _budget(0), cost, "the rest is back");
        assertEq(vault.escrow(address(road)), 0, "nothing stays");
        _assertSolvent();
    }

    function test_finalize_logs() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        bytes32 job = market.jobId(receipt.order);
        _openFixed(receipt);
        _reveal(receipt, 7, 7);
        vm.recordLogs();
        _finalize(receipt, 7, 7);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 5, "one for each operator, one for the job and the court's");
        assertEq(logs[4].topics[0], ICourt.JobEntered.selector, "the slash may be appealed");
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(logs[i].emitter, address(vault), "by the vault");
            assertEq(logs[i].topics[0], IVault.OperatorSettled.selector, "an operator");
            assertEq(address(uint160(uint256(logs[i].topics[1]))), receipt.replicas[i].operator, "by name");
        }
        assertEq(abi.decode(logs[0].data, (Sums)).slashedOf(), BOND, "the liar's bond");
        assertEq(abi.decode(logs[1].data, (Sums)).paidOf(), 1001 * 307, "a winner's pay");
        assertEq(logs[3].emitter, address(road), "by the road");
        assertEq(logs[3].topics[0], IMarket.JobSettled.selector, "settled");
        assertEq(logs[3].topics[1], job, "the job");
        assertEq(address(uint160(uint256(logs[3].topics[2]))), _requester(0), "the requester");
        (bytes32 vote, Share[] memory shares) = abi.decode(logs[3].data, (bytes32, Share[]));
        assertEq(uint256(vote), Tally.toVote(receipt.replicas[1].tag, 307), "tag and seconds");
        assertEq(shares.length, 4, "three replicas and the fee");
        _assertShare(shares[0], receipt.replicas[0].operator, BOND, ShareKind.Slashed);
        _assertShare(shares[1], receipt.replicas[1].operator, 1001 * 307, ShareKind.Won);
        _assertShare(shares[2], receipt.replicas[2].operator, 1002 * 307, ShareKind.Won);
        _assertShare(shares[3], scheduler, FEE, ShareKind.Fee);
    }

    /// @dev Only the first 28 bytes of a tag are voted on; that is what the event tells, on both ways.
    function test_finalize_tag() public {
        Receipt memory receipt = _draft(_order(0, 1));
        bytes32 first = _answer(market.jobId(receipt.order), 0);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = bytes32(uint256(first) >> 32 << 32 | i);
        }
        receipt = _seal(receipt);
        uint256 voted = Tally.toVote(first, 307);
        _openFixed(receipt);
        bytes memory step = _settleCall(receipt, receipt, 7);
        vm.recordLogs();
        _take(step);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (bytes32 vote,) = abi.decode(logs[logs.length - 1].data, (bytes32, Share[]));
        assertEq(uint256(vote), voted, "by receipt");
        receipt.order.nonce = 2;
        receipt = _draft(receipt.order);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = bytes32(uint256(first) >> 32 << 32 | i);
        }
        _openFixed(_seal(receipt));
        step = _finalizeCall(receipt, 7, 7);
        vm.recordLogs();
        _take(step);
        logs = vm.getRecordedLogs();
        (vote,) = abi.decode(logs[logs.length - 1].data, (bytes32, Share[]));
        assertEq(uint256(vote), voted, "step by step");
    }

    function _assertShare(Share share, address party, uint256 amount, ShareKind kind) private pure {
        assertEq(share.operatorOf(), party, "whose");
        assertEq(share.amountOf(), amount, "how much");
        assertEq(uint256(share.kindOf()), uint256(kind), "why");
    }

    function test_finalize_silent() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        _reveal(receipt, 7, 5);
        uint256 deadline = _deadlineOf(receipt);
        vm.warp(deadline);
        _assertRefused(
            _finalizeCall(receipt, 7, 5), abi.encodeWithSelector(IRoad.Road_TooEarly.selector, deadline)
        );
        vm.warp(deadline + 1);
        _finalize(receipt, 7, 5);
        address silent = receipt.replicas[1].operator;
        assertEq(_account(silent).bond, STAKE - BOND, "slashed");
        assertEq(_account(silent).faults, 1, "a fault");
        assertEq(_locked(silent), 0, "nothing more is held");
        assertEq(_free(TREASURY), BOND, "to the treasury");
        // The lower median of 300 and 314.
        assertEq(BUDGET - _budget(0), FEE + 2002 * 300, "the others are paid");
        _assertSolvent();
    }

    /// @dev Who hides a lie is no better off than who shows it.
    function test_finalize_selective() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 2);
        _openFixed(receipt);
        _reveal(receipt, 7, 3);
        _pass(ROAD_WINDOW + 1);
        _finalize(receipt, 7, 3);
        assertEq(_account(receipt.replicas[2].operator).bond, STAKE - BOND, "slashed all the same");
    }

    function test_finalize_noQuorum() public {
        Receipt memory receipt = _draft(_order(0, 1));
        receipt.replicas[0].tag = _answer(market.jobId(receipt.order), 1);
        receipt.replicas[0].secs = 100_000; // paid to the cap only
        receipt = _seal(receipt);
        uint256[] memory before = _freeOf(receipt);
        uint256 schedulerBefore = _free(scheduler);
        _openFixed(receipt);
        _reveal(receipt, 7, 3);
        _pass(ROAD_WINDOW + 1);
        vm.recordLogs();
        _finalize(receipt, 7, 3);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs[3].topics[0], IMarket.JobWithoutQuorum.selector, "no quorum");
        Share[] memory shares = abi.decode(logs[3].data, (Share[]));
        _assertShare(shares[0], receipt.replicas[0].operator, 1000 * 600 / 4, ShareKind.Effort);
        _assertShare(shares[1], receipt.replicas[1].operator, 1001 * 307 / uint256(4), ShareKind.Effort);
        assertTrue(_stateOf(receipt) == RoadState.Failed, "failed");
        assertEq(_free(receipt.replicas[0].operator) - before[0], 1000 * 600 / 4, "a quarter to the cap");
        assertEq(_free(receipt.replicas[1].operator) - before[1], 1001 * 307 / uint256(4), "a quarter");
        assertEq(_account(receipt.replicas[0].operator).bond, STAKE, "nobody knows who lied");
        assertEq(_account(receipt.replicas[0].operator).wins, 0, "no win");
        assertEq(_account(receipt.replicas[2].operator).bond, STAKE - BOND, "but who was silent");
        assertEq(_free(scheduler), schedulerBefore, "no fee");
        assertEq(BUDGET - _budget(0), 1000 * 600 / 4 + 1001 * 307 / uint256(4), "the rest is back");
        _assertSolvent();
    }

    function test_finalize_allSilent() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        _pass(ROAD_WINDOW + 1);
        _finalize(receipt, 7, 0);
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(_account(receipt.replicas[i].operator).bond, STAKE - BOND, "slashed");
        }
        assertEq(_budget(0), BUDGET, "for nothing nothing");
        _assertSolvent();
    }

    function test_finalize_twoOfThree() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 5);
        uint256 deadline = _deadlineOf(receipt);
        vm.warp(deadline);
        bytes memory early = abi.encodeWithSelector(IRoad.Road_TooEarly.selector, deadline);
        _assertRefused(_finalizeCall(receipt, 5, 5), early);
        vm.warp(deadline + 1);
        _finalize(receipt, 5, 5);
        assertTrue(_stateOf(receipt) == RoadState.Settled, "two of three are a quorum");
        assertEq(_account(receipt.replicas[1].operator).bond, STAKE, "who never promised owes nothing");
        assertEq(BUDGET - _budget(0), FEE + 2002 * 300, "two are paid");
    }

    /// @dev Two that disagree, of three: the third place counts towards the quorum though nobody took it.
    function test_finalize_assignedCount() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        _open(receipt, 3);
        vm.warp(_deadlineOf(receipt) + 1);
        _finalize(receipt, 3, 3);
        assertTrue(_stateOf(receipt) == RoadState.Failed, "one vote is no quorum of three");
        assertEq(_account(receipt.replicas[0].operator).bond, STAKE, "nobody is slashed");
    }

    /// @dev A lone answer, made up the moment the order was seen, earns nothing.
    function test_finalize_tooFew() public {
        Receipt memory receipt = _honest(0, 1);
        address operator = receipt.replicas[0].operator;
        uint256 before = _free(operator);
        _open(receipt, 1);
        vm.warp(_deadlineOf(receipt));
        bytes memory early = abi.encodeWithSelector(IRoad.Road_TooEarly.selector, _deadlineOf(receipt));
        _assertRefused(_finalizeCall(receipt, 1, 0), early);
        _pass(1);
        _reveal(receipt, 1, 1); // changes nothing
        vm.recordLogs();
        _finalize(receipt, 1, 1);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "nobody is paid or slashed");
        assertEq(logs[0].topics[0], IMarket.JobWithoutQuorum.selector, "no quorum");
        assertEq(_free(operator), before, "no effort without anybody to contradict");
        assertEq(_account(operator).bond, STAKE, "and no slash");
        assertEq(_locked(operator), 0, "let go");
        assertEq(_budget(0), BUDGET, "all is back");
        _assertSolvent();
    }

    function test_finalize_openings() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        bytes32 job = market.jobId(receipt.order);
        _reveal(receipt, 7, 6);
        bytes memory missing = abi.encodeWithSelector(IRoad.Road_OpeningMissing.selector, job);
        _assertRefused(_finalizeCall(receipt, 7, 4), missing); // who sends cannot leave out a vote
        _pass(ROAD_WINDOW + 1);
        _assertRefused(_finalizeCall(receipt, 7, 4), missing);
        _assertRefused(_finalizeCall(receipt, 7, 0), missing);
        Entry[] memory entries = _entries(receipt, 7);
        Opening[] memory openings = _openings(receipt, 7, 6);
        (openings[0], openings[1]) = (openings[1], openings[0]);
        _assertRefused(
            abi.encodeCall(IRoad.finalize, (receipt.order, ROUND, entries, openings)),
            abi.encodeWithSelector(IRoad.Road_OpeningWrong.selector, 1)
        );
        openings[1] = openings[0];
        _assertRefused( // nor let one vote count for two
            abi.encodeCall(IRoad.finalize, (receipt.order, ROUND, entries, openings)),
            abi.encodeWithSelector(IRoad.Road_OpeningWrong.selector, 2)
        );
    }

    function test_finalize_ended() public {
        Receipt memory receipt = _honest(0, 1);
        bytes32 job = market.jobId(receipt.order);
        bytes memory reason = abi.encodeWithSelector(IRoad.Road_NotOpen.selector, job);
        bytes memory step = _finalizeCall(receipt, 7, 7);
        _assertRefused(step, reason);
        _assertRefused(_commitCall(receipt, 1, 2), reason);
        _openFixed(receipt);
        _finalize(receipt, 7, 7);
        _assertRefused(step, reason);
        _assertRefused(_revealCall(receipt, 7, 7), reason);
        _assertRefused(_commitCall(receipt, 1, 2), reason);
        _assertRefused(_settleCall(receipt, receipt, 7), reason);
        RoadJob memory over = road.jobs(job);
        assertTrue(over.state == RoadState.Settled && over.context == 0 && over.deadline == 0, "only that");
    }

    function test_finalize_tamperedOrder() public {
        Receipt memory receipt = _honest(0, 1);
        _openFixed(receipt);
        bytes memory step;
        for (uint256 member = 0; member < 5; ++member) {
            Receipt memory bad = _honest(0, 1);
            if (member == 0) bad.order.requester = _requester(1);
            if (member == 1) bad.order.fee += 1;
            if (member == 2) bad.order.bond = 0;
            if (member == 3) bad.order.quorum = 3;
            if (member == 4) bad.order.scheduler = _requester(1);
            step = abi.encodeCall(
                IRoad.finalize, (bad.order, ROUND, _entries(receipt, 7), _openings(receipt, 7, 7))
            );
            bytes32 job = market.jobId(bad.order);
            _assertRefused(step, abi.encodeWithSelector(IRoad.Road_NotOpen.selector, job));
        }
    }

    // --- leaving ------------------------------------------------------------------------------

    function test_requester_leaves() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 7);
        vm.prank(_requester(0));
        vault.close(scheduler);
        _pass(1 days);
        vm.prank(_requester(0));
        vault.reclaim(scheduler);
        uint256 free = _free(_requester(0));
        vm.prank(_requester(0));
        vault.withdraw(_requester(0), uint64(free)); // everything that is not this job's
        uint256 before = _free(receipt.replicas[0].operator);
        vm.warp(_deadlineOf(receipt) + 1); // long past
        _finalize(receipt, 7, 7);
        assertEq(_free(receipt.replicas[0].operator) - before, 1000 * 307, "paid all the same");
        assertEq(_budget(0), _worstCost(receipt.order) - FEE - 3003 * 307, "the rest is the requester's");
        _assertSolvent();
    }

    function test_operator_leaves() public {
        Receipt memory receipt = _honest(0, 1);
        address operator = receipt.replicas[0].operator;
        Order memory order = receipt.order;
        order.bond = STAKE;
        receipt = _draftUntil(order, operator);
        _openFixed(_seal(receipt));
        vm.prank(operator);
        providers.unstake(CLASS, SEATS_EACH);
        _pass(7 days);
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(IProviders.Providers_NothingToExit.selector, operator));
        providers.exit();
        _finalize(receipt, 7, 0);
        assertEq(_account(operator).bond, 0, "its stake waited for the end");
        _assertSolvent();
    }

    /// @dev What other jobs take of an operator is never what this one holds.
    function test_operator_slashedElsewhere() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _seal(_draft(order));
        address operator = receipt.replicas[0].operator;
        _openFixed(receipt);
        order = _order(1, 1);
        order.bond = type(uint64).max;
        Receipt memory other = _draftUntil(order, operator);
        other.replicas[0].tag = _answer(market.jobId(other.order), 9);
        _assertSettles(_seal(other));
        assertEq(_account(operator).bond, BOND, "all but what is locked");
        _pass(ROAD_WINDOW + 1);
        _finalize(receipt, 7, 0);
        assertEq(_account(operator).bond, 0, "and then that");
        assertEq(_locked(operator), 0, "exact");
        _assertSolvent();
    }

    // --- with a receipt -----------------------------------------------------------------------

    function test_settle() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 1);
        uint256[] memory before = _freeOf(receipt);
        uint256 schedulerBefore = _free(scheduler);
        _open(receipt, 5);
        vm.recordLogs();
        _override(receipt, receipt, 5);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 5, "one for each operator, one for the job and the court's");
        assertEq(logs[4].topics[0], ICourt.JobEntered.selector, "the slash may be appealed");
        (bytes32 vote, Share[] memory shares) = abi.decode(logs[3].data, (bytes32, Share[]));
        assertEq(uint256(vote), Tally.toVote(receipt.replicas[0].tag, 300), "tag and seconds");
        _assertShare(shares[0], receipt.replicas[0].operator, 1000 * 300, ShareKind.Won);
        _assertShare(shares[1], receipt.replicas[1].operator, BOND, ShareKind.Slashed);
        _assertShare(shares[2], receipt.replicas[2].operator, 1002 * 300, ShareKind.Won);
        _assertShare(shares[3], scheduler, FEE, ShareKind.Fee);
        assertEq(_free(receipt.replicas[0].operator) - before[0], 1000 * 300, "paid");
        assertEq(_free(receipt.replicas[2].operator) - before[2], 1002 * 300, "paid");
        assertEq(_account(receipt.replicas[1].operator).bond, STAKE - BOND, "who lied is slashed");
        assertEq(_free(scheduler) - schedulerBefore, FEE, "the fee");
        assertEq(BUDGET - _budget(0), FEE + 2002 * 300, "the rest is back");
        assertTrue(_stateOf(receipt) == RoadState.Settled, "over");
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(_locked(receipt.replicas[i].operator), 0, "let go");
        }
        _assertSolvent();
    }

    function test_settle_otherOperators() public {
        Receipt memory high = _draftHigh(_order(0, 1));
        Receipt memory receipt = _seal(_draft(high.order));
        _open(high, 7);
        _override(receipt, high, 7);
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(_locked(high.replicas[i].operator), 0, "let go");
            assertEq(_account(high.replicas[i].operator).bond, STAKE, "and not slashed");
            assertEq(_account(receipt.replicas[i].operator).wins, 1, "paid");
        }
        _assertSolvent();
    }

    /// @dev Whoever opens in the order's last second cannot make a receipt worthless.
    function test_settle_afterExpiry() public {
        Receipt memory receipt = _honest(0, 1);
        vm.warp(receipt.order.expiry);
        _open(receipt, 1);
        _pass(ROAD_WINDOW);
        assertTrue(vm.getBlockTimestamp() > receipt.order.expiry, "too late for Market");
        (bytes4 reason, uint256 winners, uint256 secs) = market.judge(receipt);
        assertTrue(reason == 0 && winners == 7 && secs == 307, "but not wrong");
        _override(receipt, receipt, 1);
        assertTrue(_stateOf(receipt) == RoadState.Settled, "paid");
    }

    function test_settle_bad() public {
        Receipt memory good = _honest(0, 1);
        _open(good, 1);
        for (uint256 member = 0; member < 6; ++member) {
            Receipt memory receipt = _honest(0, 1);
            bytes4 reason = IMarket.Market_RevealSignatureInvalid.selector;
            if (member == 0) receipt.replicas[1].sig = "";
            if (member == 1) {
                receipt.requesterSig = receipt.replicas[0].sig;
                reason = IMarket.Market_RequesterSignatureInvalid.selector;
            }
            if (member == 2) {
                receipt.replicas[1].operator = receipt.replicas[0].operator;
                reason = IMarket.Market_OperatorTwice.selector;
            }
            if (member == 3) {
                receipt.replicas[2].secs += 1;
                reason = IMarket.Market_SignerNotRegistered.selector;
            }
            if (member == 4) {
                receipt.replicas[2].rate = receipt.order.maxRate + 1;
                reason = IMarket.Market_RateTooHigh.selector;
            }
            if (member == 5) {
                receipt = _honest(0, 1);
                Replica[] memory two = new Replica[](2);
                (two[0], two[1]) = (receipt.replicas[0], receipt.replicas[1]);
                receipt.replicas = two;
                reason = IMarket.Market_ReplicaCountInvalid.selector;
            }
            bytes memory refusal = abi.encodeWithSelector(IRoad.Road_ReceiptRefused.selector, reason);
            _assertJudgedBad(_settleCall(receipt, good, 1), refusal, member);
        }
    }

    function test_settle_noQuorum() public {
        Receipt memory receipt = _draft(_order(0, 1));
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = _answer(market.jobId(receipt.order), i);
        }
        receipt = _seal(receipt);
        _open(receipt, 1);
        _assertRefused(_settleCall(receipt, receipt, 1), IRoad.Road_NoQuorumInReceipt.selector);
    }

    // --- and Market ---------------------------------------------------------------------------

    function test_race_marketFirst() public {
        Receipt memory receipt = _honest(0, 1);
        _assertSettles(receipt);
        bytes memory spent = abi.encodeWithSelector(IVault.Vault_NonceSpent.selector, _requester(0), 1);
        _assertRefused(_openCall(receipt, 7, ""), spent);
        _assertRefused(_openCall(receipt, 7, _setSig(receipt, ALL)), spent);
    }

    function test_race_roadFirst() public {
        Receipt memory receipt = _honest(0, 1);
        _open(receipt, 1);
        _assertSkipped(receipt, IMarket.Market_NonceSpent.selector);
        _override(receipt, receipt, 1);
        _assertSkipped(receipt, IMarket.Market_NonceSpent.selector);
    }

    /// @dev Both roads take the same orders, but for the nonce and the budget.
    function testFuzz_sameOrders(uint8 replicas, uint8 quorum, uint64 expiry, uint16 auditBps) public {
        Order memory order = _order(0, 1);
        order.auditBps = uint16(bound(auditBps, 0, 11_000));
        order.replicas = uint8(bound(replicas, 0, 10));
        order.quorum = uint8(bound(quorum, 0, 10));
        order.expiry = uint64(vm.getBlockTimestamp() + bound(expiry, 0, 13 hours) - 30 minutes);
        bool takes = order.replicas != 0 && order.replicas <= 8;
        Receipt memory receipt = takes ? _seal(_draft(order)) : _honest(0, 1);
        if (!takes) (receipt.order, receipt.replicas) = (order, new Replica[](order.replicas));
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        bool settles = false;
        for (uint256 i = 0; i < logs.length; ++i) {
            settles = settles || logs[i].topics[0] == IMarket.JobSettled.selector;
        }
        receipt.order.nonce = 2; // another job of the same shape
        if (takes) receipt = _seal(_draft(receipt.order));
        // solhint-disable-next-line avoid-low-level-calls
        (bool opens,) = address(road).call(_openCall(receipt, takes ? 1 : 0, ""));
        assertTrue(settles == opens, "both or none");
    }

    // --- steps --------------------------------------------------------------------------------

    function _assertOrderRefused(Order memory order, bytes memory reason) private {
        Receipt memory receipt = _honest(0, 1);
        receipt.order = order;
        receipt.requesterSig = _sign(keyOf[order.requester], market.jobId(order));
        _assertRefused(_openCall(receipt, 1, ""), reason);
    }

    /// @dev A changed member recovers some key or none, as it happens.
    function _assertJudgedBad(bytes memory step, bytes memory refusal, uint256 member) private {
        if (member != 3) {
            _assertRefused(step, refusal);
            return;
        }
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(road).call(step);
        assertTrue(!done && bytes4(answer) == IRoad.Road_ReceiptRefused.selector, "refused by Market");
    }

    function _freeOf(Receipt memory receipt) private view returns (uint256[] memory free) {
        free = new uint256[](receipt.replicas.length);
        for (uint256 i = 0; i < free.length; ++i) {
            free[i] = _free(receipt.replicas[i].operator);
        }
    }

    /// @dev An honest receipt of the operators at the end of the draw, none of whom is at its start.
    function _draftHigh(Order memory order) private view returns (Receipt memory receipt) {
        Receipt memory low = _draft(order);
        bytes32 job = market.jobId(order);
        receipt = _draft(order);
        address[] memory drawn = providers.draw(CLASS, order.seedBlock, job, order.maxTicket);
        uint256 missing = 3;
        for (uint256 ticket = order.maxTicket; missing != 0; --ticket) {
            address operator = drawn[ticket];
            bool sits = _sits(low.replicas, 3, operator);
            for (uint256 i = missing; i < 3; ++i) {
                sits = sits || receipt.replicas[i].operator == operator;
            }
            if (sits) continue;
            --missing;
            receipt.replicas[missing].operator = operator;
            receipt.replicas[missing].ticket = uint8(ticket);
        }
        return _seal(receipt);
    }

    /// @dev A draft whose first replica is `operator`: the spec is changed until the draw says so.
    function _draftUntil(Order memory order, address operator) private view returns (Receipt memory receipt) {
        do {
            order.spec = keccak256(abi.encode(order.spec));
            receipt = _draft(order);
        } while (receipt.replicas[0].operator != operator);
    }
}
