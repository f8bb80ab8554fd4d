// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

import {Deploy} from "../../script/Deploy.s.sol";
import {Market} from "../../src/Market.sol";
import {ICourt} from "../../src/interfaces/ICourt.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Account} from "../../src/types/Accounts.sol";
import {CaseState} from "../../src/types/Courts.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {Share, ShareKind} from "../../src/types/Share.sol";
import {Sums} from "../../src/types/Sums.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @notice A smart wallet that says yes to anything, for now.
contract YesWallet is IERC1271 {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return IERC1271.isValidSignature.selector;
    }
}

/// @dev See Market.tree. Rates are 1000, 1001, 1002 ..., seconds 300, 307, 314 ... unless a test says otherwise.
contract MarketTest is MarketFixture {
    uint256 private constant FEE = 2000;
    uint64 private constant BOND = 50e6;

    // --- quorum -------------------------------------------------------------------------------

    function test_quorum_pays() public {
        Receipt memory receipt = _honest(0, 1);
        uint256[] memory before = _freeOf(receipt);
        uint256 schedulerBefore = _free(scheduler);
        _assertSettles(receipt);
        uint256 cost = FEE;
        for (uint256 i = 0; i < 3; ++i) {
            address operator = receipt.replicas[i].operator;
            assertEq(_free(operator) - before[i], (1000 + i) * 307, "own rate, the median's seconds");
            assertEq(_account(operator).wins, 1, "a win");
            assertEq(_account(operator).faults, 0, "no fault");
            cost += (1000 + i) * 307;
        }
        assertEq(_free(scheduler) - schedulerBefore, FEE, "the fee");
        assertEq(BUDGET - _budget(0), cost, "all of it from the budget");
        assertTrue(vault.nonceUsed(_requester(0), 1), "the nonce is spent");
        assertTrue(!vault.nonceUsed(_requester(0), 0) && !vault.nonceUsed(_requester(0), 257), "no other");
        _assertSolvent();
    }

    function test_quorum_logs() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        bytes32 job = market.jobId(receipt.order);
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 5, "one for each operator, one for the job and the court's");
        assertEq(logs[4].topics[0], ICourt.JobEntered.selector, "the slash may be appealed");
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(logs[i].emitter, address(vault), "by the vault");
            assertEq(logs[i].topics[0], IVault.OperatorSettled.selector, "the event");
            assertEq(
                address(uint160(uint256(logs[i].topics[1]))), receipt.replicas[i].operator, "the operator"
            );
        }
        _assertSums(logs[0], 0, BOND, 0, 1);
        _assertSums(logs[1], 1001 * 307, 0, 1, 0);
        _assertSums(logs[2], 1002 * 307, 0, 1, 0);
        _assertJobLog(logs[3], IMarket.JobSettled.selector, job);
        (bytes32 vote, Share[] memory shares) = abi.decode(logs[3].data, (bytes32, Share[]));
        assertEq(vote >> 32 << 32, receipt.replicas[1].tag >> 32 << 32, "28 bytes of tag");
        assertEq(uint256(vote) & 0xffffffff, 307, "the seconds");
        assertEq(shares.length, 4, "three replicas and the fee");
        _assertShare(shares[0], receipt.replicas[0].operator, BOND, ShareKind.Slashed);
        _assertShare(shares[1], receipt.replicas[1].operator, 1001 * 307, ShareKind.Won);
        _assertShare(shares[2], receipt.replicas[2].operator, 1002 * 307, ShareKind.Won);
        _assertShare(shares[3], scheduler, FEE, ShareKind.Fee);
    }

    function test_quorum_caps() public {
        Order memory order = _order(0, 1);
        order.maxSeconds = 305;
        Receipt memory receipt = _seal(_draft(order));
        uint256[] memory before = _freeOf(receipt);
        _assertSettles(receipt);
        assertEq(_free(receipt.replicas[2].operator) - before[2], 1002 * 305, "the cap");
    }

    function test_quorum_inflatedSeconds() public {
        Receipt memory receipt = _draft(_order(0, 1));
        receipt.replicas[2].secs = type(uint32).max;
        receipt = _seal(receipt);
        uint256[] memory before = _freeOf(receipt);
        _assertSettles(receipt);
        assertEq(_free(receipt.replicas[2].operator) - before[2], 1002 * 307, "still the median");
    }

    function test_quorum_slashes() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 1);
        uint256[] memory before = _freeOf(receipt);
        address liar = receipt.replicas[1].operator;
        _assertSettles(receipt);
        assertEq(_free(liar), before[1], "not paid");
        assertEq(_account(liar).bond, SEATS_EACH * SEAT - BOND, "slashed");
        assertEq(_account(liar).faults, 1, "a fault");
        assertEq(_account(liar).wins, 0, "no win");
        assertEq(vault.escrow(address(court)), BOND, "held for as long as a panel may say otherwise");
        assertEq(_free(receipt.replicas[0].operator) - before[0], 1000 * 300, "lower middle of 300 and 314");
        assertEq(BUDGET - _budget(0), FEE + 2002 * 300, "the requester pays the winners only");
        _assertSolvent();
    }

    function test_quorum_slashBounded() public {
        Order memory order = _order(0, 1);
        order.bond = type(uint64).max;
        Receipt memory receipt = _withLiar(order, 1);
        bytes32 job = market.jobId(order);
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        _assertJobLog(logs[3], IMarket.JobSettled.selector, job);
        (, Share[] memory shares) = abi.decode(logs[3].data, (bytes32, Share[]));
        _assertShare(shares[0], receipt.replicas[0].operator, 1000 * 300, ShareKind.Won);
        _assertShare(shares[1], receipt.replicas[1].operator, uint64(SEATS_EACH) * SEAT, ShareKind.Slashed);
        assertEq(_account(receipt.replicas[1].operator).bond, 0, "all there was");
        assertEq(_slashed(), SEATS_EACH * SEAT, "and no more");
        _assertSolvent();
    }

    function test_quorum_tagBytes() public {
        Receipt memory receipt = _draft(_order(0, 1));
        receipt.replicas[1].tag ^= bytes32(uint256(type(uint32).max));
        _assertSettles(_seal(receipt));
        assertEq(_account(receipt.replicas[1].operator).wins, 1, "the last 4 bytes say nothing");
        receipt = _draft(_order(0, 2));
        receipt.replicas[1].tag ^= bytes32(uint256(1) << 32);
        _assertSettles(_seal(receipt));
        assertEq(_account(receipt.replicas[1].operator).faults, 1, "the one before does");
    }

    function test_quorum_single() public {
        Order memory order = _order(0, 1);
        (order.replicas, order.quorum) = (1, 1);
        Receipt memory receipt = _seal(_draft(order));
        uint256[] memory before = _freeOf(receipt);
        _assertSettles(receipt);
        assertEq(_free(receipt.replicas[0].operator) - before[0], 1000 * 300, "paid");
    }

    function test_quorum_eight() public {
        Order memory order = _order(0, 1);
        (order.replicas, order.quorum) = (8, 5);
        Receipt memory receipt = _draft(order);
        bytes32 job = market.jobId(order);
        // Replicas 0, 1 and 7 lie alike; the others measured 314 .. 342.
        receipt.replicas[0].tag = receipt.replicas[1].tag = receipt.replicas[7].tag = _answer(job, 1);
        _assertSettles(_seal(receipt));
        for (uint256 i = 0; i < 8; ++i) {
            bool lied = i < 2 || i == 7;
            assertEq(_account(receipt.replicas[i].operator).faults, lied ? 1 : 0, "faults");
            assertEq(_account(receipt.replicas[i].operator).wins, lied ? 0 : 1, "wins");
        }
        assertEq(BUDGET - _budget(0), FEE + 5020 * 328, "five winners at the median");
        _assertSolvent();
    }

    function test_quorum_anySender() public {
        uint256 before = _free(scheduler);
        Receipt memory receipt = _honest(0, 1);
        vm.prank(address(0xBEEF));
        _settle(receipt);
        assertEq(_free(scheduler) - before, FEE, "to the scheduler of the order");
        assertEq(_free(address(0xBEEF)), 0, "nothing to the sender");
    }

    // --- no quorum ----------------------------------------------------------------------------

    function test_noQuorum() public {
        Receipt memory receipt = _draft(_order(0, 1));
        bytes32 job = market.jobId(receipt.order);
        receipt.replicas[1].tag = _answer(job, 1);
        receipt.replicas[2].tag = _answer(job, 2);
        receipt = _seal(receipt);
        uint256[] memory before = _freeOf(receipt);
        uint256 schedulerBefore = _free(scheduler);
        uint256 cost = 0;
        uint256[3] memory efforts = [uint256(75_000), 76_826, 78_657]; // 1000 x 300 / 4, rounded down
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 4, "one for each operator and one for the job");
        _assertJobLog(logs[3], IMarket.JobWithoutQuorum.selector, job);
        Share[] memory shares = abi.decode(logs[3].data, (Share[]));
        assertEq(shares.length, 4, "three replicas and the fee");
        _assertShare(shares[3], scheduler, 0, ShareKind.Fee);
        for (uint256 i = 0; i < 3; ++i) {
            Account memory books = _account(receipt.replicas[i].operator);
            assertEq(books.free - before[i], efforts[i], "a quarter of rate x own seconds");
            assertEq(books.bond, SEATS_EACH * SEAT, "nobody is slashed");
            assertEq(uint256(books.wins) + books.faults, 0, "nobody won or lost");
            _assertShare(shares[i], receipt.replicas[i].operator, efforts[i], ShareKind.Effort);
            cost += efforts[i];
        }
        assertEq(BUDGET - _budget(0), cost, "from the budget");
        assertEq(_free(scheduler), schedulerBefore, "no fee");
        _assertSolvent();
        _assertSkipped(receipt, IMarket.Market_NonceSpent.selector);
    }

    function test_noQuorum_inflatedSeconds() public {
        Receipt memory receipt = _draft(_order(0, 1));
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].tag = bytes32(i << 200);
            receipt.replicas[i].secs = type(uint32).max;
        }
        _assertSettles(_seal(receipt));
        assertEq(BUDGET - _budget(0), 150_000 + 150_150 + 150_300, "a quarter of the capped seconds");
    }

    // --- orders -------------------------------------------------------------------------------

    function test_order_replicaCount() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _draft(order);
        receipt.order.replicas = 4;
        _assertSkipped(_seal(receipt), IMarket.Market_ReplicaCountInvalid.selector);
        receipt.order.replicas = 2;
        _assertSkipped(_seal(receipt), IMarket.Market_ReplicaCountInvalid.selector);
        receipt.order.replicas = 0;
        receipt.replicas = new Replica[](0);
        _assertSkipped(_seal(receipt), IMarket.Market_ReplicaCountInvalid.selector);
        order = _order(0, 1);
        (order.replicas, order.quorum) = (9, 5);
        _assertSkipped(_seal(_draft(order)), IMarket.Market_ReplicaCountInvalid.selector);
    }

    function test_order_quorum() public {
        Order memory order = _order(0, 1);
        (order.replicas, order.quorum) = (4, 2);
        _assertSkipped(_seal(_draft(order)), IMarket.Market_QuorumInvalid.selector);
        order.quorum = 5;
        _assertSkipped(_seal(_draft(order)), IMarket.Market_QuorumInvalid.selector);
        order.quorum = 255;
        _assertSkipped(_seal(_draft(order)), IMarket.Market_QuorumInvalid.selector);
        order.quorum = 4;
        _assertSettles(_seal(_draft(order)));
    }

    function test_order_expiry() public {
        uint256 time = vm.getBlockTimestamp();
        Order memory order = _order(0, 1);
        order.expiry = uint64(time - 1);
        _assertSkipped(_seal(_draft(order)), IMarket.Market_OrderExpired.selector);
        order.expiry = uint64(time + 12 hours + 1);
        _assertSkipped(_seal(_draft(order)), IMarket.Market_ExpiryTooFar.selector);
        order.expiry = type(uint64).max;
        _assertSkipped(_seal(_draft(order)), IMarket.Market_ExpiryTooFar.selector);
        order.expiry = uint64(time + 12 hours);
        _assertSettles(_seal(_draft(order)));
        order.nonce = 2;
        order.expiry = uint64(time);
        _assertSettles(_seal(_draft(order)));
    }

    function test_order_signature() public {
        Receipt memory receipt = _honest(0, 1);
        receipt.requesterSig = _sign(REQUESTER_KEY + 1, market.jobId(receipt.order));
        _assertSkipped(receipt, IMarket.Market_RequesterSignatureInvalid.selector);
    }

    function test_replay_chain() public {
        Receipt memory receipt = _honest(0, 1);
        vm.chainId(1);
        _assertSkipped(receipt, IMarket.Market_RequesterSignatureInvalid.selector);
        // Even where the requester signs again, the reveals are for the other chain.
        Receipt memory again = _draftLike(receipt);
        again.requesterSig = _sign(REQUESTER_KEY, market.jobId(again.order));
        _assertSkipped(again, IMarket.Market_SignerNotRegistered.selector);
    }

    function test_replay_contract() public {
        Receipt memory receipt = _honest(0, 1);
        Deploy script = new Deploy();
        Market other = script.deploy(address(script), usd, TREASURY).market;
        vm.expectEmit(address(other));
        emit IMarket.ReceiptSkipped(
            other.jobId(receipt.order), IMarket.Market_RequesterSignatureInvalid.selector
        );
        other.settle(_batch(receipt));
    }

    function test_signature_forms() public {
        Receipt memory receipt = _honest(0, 1);
        bytes memory good = receipt.requesterSig;
        bytes[] memory bad = _otherForms(good);
        for (uint256 i = 0; i < bad.length; ++i) {
            receipt.requesterSig = bad[i];
            _assertSkipped(receipt, IMarket.Market_RequesterSignatureInvalid.selector);
        }
        receipt.requesterSig = good;
        good = receipt.replicas[1].sig;
        bad = _otherForms(good);
        for (uint256 i = 0; i < bad.length; ++i) {
            receipt.replicas[1].sig = bad[i];
            _assertSkipped(receipt, IMarket.Market_RevealSignatureInvalid.selector);
        }
        receipt.replicas[1].sig = good;
        _assertSettles(receipt);
    }

    /// @dev A failed recovery yields the zero address, which must not pass for a requester.
    function test_order_zeroRequester() public {
        Order memory order = _order(0, 1);
        order.requester = address(0);
        keyOf[address(0)] = REQUESTER_KEY;
        Receipt memory receipt = _seal(_draft(order));
        receipt.requesterSig[64] = 0;
        _assertSkipped(receipt, IMarket.Market_RequesterSignatureInvalid.selector);
        receipt.requesterSig = "";
        _assertSkipped(receipt, IMarket.Market_RequesterSignatureInvalid.selector);
    }

    /// @dev A contract could take its word back once the work is done.
    function test_order_contractRequester() public {
        address wallet = address(new YesWallet());
        _deposit(wallet, 1000e6);
        vm.prank(wallet);
        vault.fund(scheduler, 1000e6);
        Order memory order = _order(0, 1);
        order.requester = wallet;
        keyOf[wallet] = REQUESTER_KEY;
        _assertSkipped(_seal(_draft(order)), IMarket.Market_RequesterSignatureInvalid.selector);
    }

    /// @dev What a contract says of a signature it can take back once the work is done. A key that it registered it
    /// can only replace, and what that key signed counts until it has expired.
    function test_order_registeredKey() public {
        address wallet = address(new YesWallet());
        _deposit(wallet, 1000e6);
        vm.prank(wallet);
        vault.fund(scheduler, 1000e6);
        vm.prank(wallet);
        providers.setSigner(vm.addr(0x6000));
        keyOf[wallet] = 0x6000;
        uint64 expiry = uint64(vm.getBlockTimestamp() + 12 hours);
        Receipt memory receipt = _orderedBy(wallet, 1, expiry);
        Receipt memory second = _orderedBy(wallet, 2, expiry);
        // The work is done, and now the wallet would rather not pay.
        vm.prank(wallet);
        providers.setSigner(vm.addr(0x6001));
        _assertSettles(receipt);
        providers.keepSeed(CLASS, seedBlock);
        vm.warp(expiry);
        _assertSettles(second);
        assertEq(vault.budget(wallet, scheduler).amount, 1000e6 - 2 * (FEE + 3003 * 307), "it pays for both");

        // One day of delay and half a day of grace later the old key is worth nothing.
        vm.warp(vm.getBlockTimestamp() + 1 days + 1);
        _freshSeed();
        expiry = uint64(vm.getBlockTimestamp() + 12 hours);
        _assertSkipped(_orderedBy(wallet, 3, expiry), IMarket.Market_RequesterSignatureInvalid.selector);
        keyOf[wallet] = 0x6001;
        _assertSettles(_orderedBy(wallet, 3, expiry));
    }

    /// @dev A key speaks for who registered it and for nobody else.
    function test_order_othersKey() public {
        vm.prank(_requester(1));
        providers.setSigner(vm.addr(0x6000));
        Receipt memory receipt = _honest(0, 1);
        receipt.requesterSig = _sign(0x6000, market.jobId(receipt.order));
        _assertSkipped(receipt, IMarket.Market_RequesterSignatureInvalid.selector);
    }

    function test_order_audit() public {
        Order memory order = _order(0, 1);
        order.auditBps = 10_001;
        _assertSkipped(_seal(_draft(order)), IMarket.Market_AuditInvalid.selector);
        order.auditBps = 10_000;
        _assertSettles(_seal(_draft(order)));
    }

    function test_order_nonce() public {
        _assertSettles(_honest(0, 1));
        Order memory order = _order(0, 1);
        order.spec = keccak256("another job of the same nonce");
        _assertSkipped(_seal(_draft(order)), IMarket.Market_NonceSpent.selector);
        _assertSettles(_honest(1, 1)); // another requester's nonce is another
        _assertSettles(_honest(0, 257));
        _assertSettles(_honest(0, type(uint256).max));
    }

    function test_order_budget() public {
        Order memory order = _order(0, 1);
        order.fee = BUDGET - uint64(3003 * 307) + 1;
        _assertSkipped(_seal(_draft(order)), IMarket.Market_BudgetTooSmall.selector);
        order.fee -= 1;
        _assertSettles(_seal(_draft(order)));
        assertEq(_budget(0), 0, "to the last micro-USD");
        order = _order(1, 1);
        order.scheduler = address(0xBEEF);
        _assertSkipped(_seal(_draft(order)), IMarket.Market_BudgetTooSmall.selector);
    }

    function test_order_absurd() public {
        Order memory order = _order(0, 1);
        order.maxSeconds = type(uint32).max;
        (order.maxRate, order.fee, order.bond) = (type(uint64).max, type(uint64).max, type(uint64).max);
        Receipt memory receipt = _draft(order);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].rate = type(uint64).max;
            receipt.replicas[i].secs = type(uint32).max;
        }
        _assertSkipped(_seal(receipt), IMarket.Market_BudgetTooSmall.selector);
        for (uint256 i = 0; i < 3; ++i) {
            receipt.replicas[i].secs = 1;
        }
        _assertSkipped(_seal(receipt), IMarket.Market_BudgetTooSmall.selector);
    }

    // --- replicas -----------------------------------------------------------------------------

    function test_replica_rate() public {
        Receipt memory receipt = _draft(_order(0, 1));
        receipt.replicas[2].rate = 1501;
        _assertSkipped(_seal(receipt), IMarket.Market_RateTooHigh.selector);
        receipt.replicas[2].rate = 1500;
        _assertSettles(_seal(receipt));
    }

    function test_replica_tickets() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _draft(order);
        uint8 last = receipt.replicas[2].ticket;
        receipt.replicas[2].ticket = 41;
        _assertSkipped(_seal(receipt), IMarket.Market_TicketTooHigh.selector);
        receipt.replicas[2].ticket = receipt.replicas[1].ticket;
        _assertSkipped(_seal(receipt), IMarket.Market_TicketsNotRising.selector);
        receipt.replicas[2].ticket = last;
        (receipt.replicas[0], receipt.replicas[1]) = (receipt.replicas[1], receipt.replicas[0]);
        _assertSkipped(_seal(receipt), IMarket.Market_TicketsNotRising.selector);
        receipt = _draft(order);
        receipt.replicas[2].operator = _notSitting(receipt);
        _assertSkipped(_seal(receipt), IMarket.Market_OperatorNotDrawn.selector);
        receipt = _draft(order);
        receipt.replicas[2].operator = address(0);
        signerKeyOf[address(0)] = SIGNER_KEY;
        _assertSkipped(_seal(receipt), IMarket.Market_OperatorNotDrawn.selector);
        // Passing over the unwilling is fine, as far as maxTicket and no further.
        receipt = _draft(order);
        order.maxTicket = receipt.replicas[2].ticket - 1;
        receipt = _draftWith(order, 40);
        _assertSkipped(_seal(receipt), IMarket.Market_TicketTooHigh.selector);
    }

    function test_replica_class() public {
        Order memory order = _order(0, 1);
        order.hardwareClass = keccak256("a class that nobody staked in");
        Receipt memory receipt = _draft(_order(0, 1));
        receipt.order = order;
        _assertSkipped(_seal(receipt), IMarket.Market_OperatorNotDrawn.selector);
    }

    function test_replica_whale() public {
        address whale = _newOperator(OPERATORS, 100);
        _nextSeed("a whale");
        Order memory order = _order(0, 1);
        order.maxTicket = 255;
        Receipt memory receipt = _draft(order);
        bytes32 job = market.jobId(receipt.order);
        uint256 found = 0;
        for (uint8 ticket = 0; found < 3; ++ticket) {
            if (providers.drawTicket(CLASS, seedBlock, job, ticket) != whale) continue;
            (receipt.replicas[found].operator, receipt.replicas[found].ticket) = (whale, ticket);
            ++found;
        }
        _assertSkipped(_seal(receipt), IMarket.Market_OperatorTwice.selector);
    }

    function test_replica_signer() public {
        Receipt memory receipt = _draft(_order(0, 1));
        address operator = receipt.replicas[1].operator;
        uint256 key = signerKeyOf[operator];
        signerKeyOf[operator] = keyOf[operator];
        _assertSkipped(_seal(receipt), IMarket.Market_SignerNotRegistered.selector);
        signerKeyOf[operator] = signerKeyOf[receipt.replicas[0].operator];
        _assertSkipped(_seal(receipt), IMarket.Market_SignerNotRegistered.selector);
        signerKeyOf[operator] = key;
        receipt = _seal(receipt);
        receipt.replicas[1].sig = "";
        _assertSkipped(receipt, IMarket.Market_RevealSignatureInvalid.selector);
    }

    function test_replica_formerSigner() public {
        Receipt memory receipt = _honest(0, 1);
        address operator = receipt.replicas[1].operator;
        vm.prank(operator);
        providers.setSigner(address(0xF4E5));
        uint256 since = vm.getBlockTimestamp() + 1 days;
        // What it signed with the old key until the change counts until it has expired.
        vm.warp(since - 1);
        Order memory order = _order(0, 2);
        order.expiry = uint64(since + 12 hours - 1);
        _freshSeed();
        order.seedBlock = seedBlock;
        receipt = _withOperator(order, operator);
        vm.warp(order.expiry);
        _assertSettles(receipt);
        vm.warp(since + 12 hours);
        _freshSeed();
        receipt = _withOperator(_order(0, 3), operator);
        _assertSkipped(receipt, IMarket.Market_SignerNotRegistered.selector);
    }

    /// @dev One batch with reveals by an operator's former key and by its new one: both are its own.
    function test_batch_bothKeys() public {
        address operator = _honest(0, 1).replicas[1].operator;
        uint256 former = signerKeyOf[operator];
        vm.prank(operator);
        providers.setSigner(vm.addr(0xF4E5));
        vm.warp(vm.getBlockTimestamp() + 1 days);
        _freshSeed();
        Receipt[] memory receipts = new Receipt[](3);
        for (uint256 i = 0; i < 3; ++i) {
            signerKeyOf[operator] = i == 1 ? 0xF4E5 : former;
            receipts[i] = _withOperator(_order(0, 100 * i), operator);
        }
        vm.recordLogs();
        market.settle(receipts);
        assertEq(vault.account(operator).wins, 3, "all of them count");
    }

    /// @dev Jobs that fail are taken out of a batch, and what the court is told of the others stays with them.
    function test_batch_failedBesideAudited() public {
        Receipt[] memory receipts = new Receipt[](4);
        receipts[0] = _honest(0, 1);
        receipts[1] = _honest(1, 1);
        signerKeyOf[receipts[1].replicas[0].operator] = 0x7777;
        receipts[1] = _seal(receipts[1]);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            signerKeyOf[_operator(i)] = SIGNER_KEY + i;
        }
        Order memory order = _order(2, 1);
        order.auditBps = 100;
        receipts[2] = _seal(_draft(order));
        receipts[3] = _honest(3, 1);
        market.settle(receipts);
        for (uint256 i = 0; i < 4; ++i) {
            CaseState state = court.caseOf(market.jobId(receipts[i].order)).state;
            assertTrue((state == CaseState.Entered) == (i == 2), "the one with audits alone");
            assertTrue(vault.nonceUsed(_requester(i), 1) == (i != 1), "all but one are settled");
        }
    }

    /// @dev What goes with a reason is of no meaning, and never half an answer.
    function test_judge_refused() public {
        Receipt memory receipt = _honest(0, 1);
        receipt.order.quorum = 1;
        (bytes4 reason, uint256 winners, uint256 secs) = market.judge(receipt);
        assertTrue(reason == IMarket.Market_QuorumInvalid.selector && winners + secs == 0, "an order's fault");
        receipt = _honest(0, 1);
        ++receipt.replicas[0].secs;
        (reason, winners, secs) = market.judge(receipt);
        assertTrue(reason != 0 && winners + secs == 0, "a reveal's");
        receipt = _honest(0, 1);
        signerKeyOf[receipt.replicas[0].operator] = 0x7777;
        (reason, winners, secs) = market.judge(_seal(receipt));
        assertTrue(
            reason == IMarket.Market_SignerNotRegistered.selector && winners + secs == 0, "an operator's"
        );
    }

    /// @dev Seeing the others' reveals, a replica takes their answer: its own commitment was part of what they signed.
    function test_replica_copy() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _withLiar(order, 2);
        bytes32 job = market.jobId(order);
        Replica memory copier = receipt.replicas[2];
        copier.tag = receipt.replicas[0].tag;
        bytes32 digest =
            market.revealDigest(job, _commitSet(receipt, job), copier.tag, copier.rate, copier.secs);
        copier.sig = _sign(signerKeyOf[copier.operator], digest);
        _assertSkipped(receipt, IMarket.Market_SignerNotRegistered.selector);

        // And a copied commitment opens to nothing: it names the operator.
        Replica memory first = receipt.replicas[0];
        assertTrue(
            market.commitment(job, copier.operator, first.tag, first.secs, first.salt)
                != market.commitment(job, first.operator, first.tag, first.secs, first.salt),
            "another's commitment is another"
        );
    }

    function test_replay_job() public {
        Receipt memory earlier = _honest(0, 1);
        Receipt memory receipt = _honest(0, 2);
        Replica memory replica = receipt.replicas[0];
        Replica memory old = earlier.replicas[0];
        // The same operator, and the answer, salt and signature that it gave for the earlier job.
        (replica.tag, replica.salt, replica.secs, replica.rate) = (old.tag, old.salt, old.secs, old.rate);
        bytes32 job = market.jobId(earlier.order);
        bytes32 digest = market.revealDigest(job, _commitSet(earlier, job), old.tag, old.rate, old.secs);
        replica.sig = _sign(signerKeyOf[replica.operator], digest);
        _assertSkipped(receipt, IMarket.Market_SignerNotRegistered.selector);
    }

    function testFuzz_tampered(uint256 member, uint256 change) public {
        Receipt memory receipt = _honest(0, 1);
        _tamper(receipt, member % 25, change == 0 ? 1 : change);
        bytes32 books = _books();
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "one log");
        assertEq(logs[0].topics[0], IMarket.ReceiptSkipped.selector, "skipped");
        assertEq(_books(), books, "at nobody's cost");
    }

    /// @dev Each member once, whatever the fuzzer chose.
    function test_tampered_each() public {
        for (uint256 member = 0; member < 25; ++member) {
            testFuzz_tampered(member, 1);
        }
    }

    // --- seeds --------------------------------------------------------------------------------

    function test_seed_unknown() public {
        Receipt memory receipt = _honest(0, 1);
        receipt.order.seedBlock = uint64(vm.getBlockNumber());
        _assertSkipped(_seal(receipt), IMarket.Market_SeedUnknown.selector);
        receipt.order.seedBlock = type(uint64).max;
        _assertSkipped(_seal(receipt), IMarket.Market_SeedUnknown.selector);
        receipt = _honest(0, 1);
        vm.roll(seedBlock + 257);
        _assertSkipped(receipt, IMarket.Market_SeedUnknown.selector);
    }

    function test_seed_tooOld() public {
        providers.keepSeed(CLASS, seedBlock);
        vm.roll(seedBlock + 257);
        _assertSettles(_honest(0, 1));
        vm.warp(vm.getBlockTimestamp() + 16 hours);
        Receipt memory receipt = _honest(0, 2);
        _assertSettles(_honest(0, 3));
        vm.warp(vm.getBlockTimestamp() + 1);
        _assertSkipped(receipt, IMarket.Market_SeedTooOld.selector);
    }

    // --- batches ------------------------------------------------------------------------------

    function test_batch_oneBad() public {
        Receipt[] memory receipts = new Receipt[](4);
        receipts[0] = _honest(0, 1);
        receipts[1] = _honest(1, 1);
        receipts[1].replicas[0].sig = "";
        receipts[2] = _withLiar(_order(2, 1), 0);
        receipts[3] = _honest(3, 1);
        receipts[3].order.replicas = 200;
        uint256[4] memory costs = [FEE + 3003 * 307, 0, FEE + 2003 * 307, 0];
        market.settle(receipts);
        for (uint256 i = 0; i < 4; ++i) {
            assertEq(BUDGET - _budget(i), costs[i], "each for itself");
            assertTrue(vault.nonceUsed(_requester(i), 1) == (costs[i] != 0), "and its nonce");
        }
        _assertSolvent();
    }

    function test_batch_twice() public {
        Receipt[] memory receipts = new Receipt[](3);
        receipts[0] = receipts[1] = receipts[2] = _withLiar(_order(0, 1), 0);
        vm.recordLogs();
        market.settle(receipts);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 5 + 2, "one settled and entered, two skipped");
        for (uint256 i = 5; i < 7; ++i) {
            assertEq(
                uint32(abi.decode(logs[i].data, (bytes4))),
                uint32(IMarket.Market_NonceSpent.selector),
                "for the nonce"
            );
        }
        assertEq(BUDGET - _budget(0), FEE + 2003 * 307, "paid once");
        assertEq(_slashed(), BOND, "slashed once");
        _assertSolvent();
    }

    /// @dev Fees are added up for a scheduler until another's job comes; a scheduler may come again.
    function test_batch_schedulers() public {
        address[5] memory named = [scheduler, address(0xA5), address(0xA5), address(0xB5), scheduler];
        uint64[5] memory fees = [uint64(2000), 7, 0, 1, 40];
        Receipt[] memory receipts = new Receipt[](5);
        for (uint256 i = 0; i < 5; ++i) {
            vm.prank(_requester(i % 2));
            vault.fund(named[i], 200e6);
            Order memory order = _order(i % 2, i);
            (order.scheduler, order.fee) = (named[i], fees[i]);
            receipts[i] = _seal(_draft(order));
        }
        market.settle(receipts);
        assertEq(_free(scheduler), 2040, "both of its jobs");
        assertEq(_free(address(0xA5)), 7, "one of its two has a fee");
        assertEq(_free(address(0xB5)), 1, "however small");
    }

    function test_batch_overdraft() public {
        Receipt[] memory receipts = new Receipt[](3);
        Order memory order = _order(0, 1);
        order.fee = BUDGET / 2;
        receipts[0] = _seal(_draft(order));
        order = _order(0, 2);
        order.fee = BUDGET / 2;
        receipts[1] = _seal(_draft(order));
        receipts[2] = _honest(0, 3);
        market.settle(receipts);
        assertTrue(vault.nonceUsed(_requester(0), 1), "the first");
        assertTrue(!vault.nonceUsed(_requester(0), 2), "not the second, which the first left too little");
        assertTrue(vault.nonceUsed(_requester(0), 3), "but the third, which is small");
        assertEq(_budget(0), BUDGET - BUDGET / 2 - FEE - 2 * 3003 * 307, "to the cent");
        _assertSolvent();
        vm.prank(_requester(0));
        vault.fund(scheduler, 999e6);
        _assertSettles(receipts[1]); // a receipt that was skipped may come again
    }

    function test_batch_sameNonce() public {
        Receipt[] memory receipts = new Receipt[](2);
        receipts[0] = _honest(0, 1);
        Order memory order = _order(0, 1);
        order.spec = keccak256("another job of the same nonce");
        receipts[1] = _seal(_draft(order));
        market.settle(receipts);
        assertEq(BUDGET - _budget(0), FEE + 3003 * 307, "one of them");
    }

    function test_batch_empty() public {
        vm.recordLogs();
        market.settle(new Receipt[](0));
        assertEq(vm.getRecordedLogs().length, 0, "nothing");
    }

    // --- leaving ------------------------------------------------------------------------------

    function test_requester_leaves() public {
        Receipt memory receipt = _honest(0, 1);
        Receipt memory late = _honest(0, 2);
        vm.prank(_requester(0));
        vault.withdraw(_requester(0), 1000e6); // what is free: no order rests on it
        vm.prank(_requester(0));
        vault.close(scheduler);
        _assertSettles(receipt);
        // Had its notice run out, an order would have run out twelve hours before.
        vm.warp(vm.getBlockTimestamp() + 1 days);
        vm.prank(_requester(0));
        vault.reclaim(scheduler);
        _assertSkipped(late, IMarket.Market_OrderExpired.selector);
        _assertSkipped(_honest(0, 3), IMarket.Market_BudgetTooSmall.selector);
    }

    // --- books --------------------------------------------------------------------------------

    function test_books_counters() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        _setCounters(receipt.replicas[0].operator, type(uint64).max);
        _setCounters(receipt.replicas[1].operator, type(uint64).max);
        _assertSettles(receipt);
        assertEq(_account(receipt.replicas[0].operator).faults, type(uint32).max, "as many as fit");
        assertEq(_account(receipt.replicas[1].operator).wins, type(uint32).max, "as many as fit");
        assertEq(_account(receipt.replicas[0].operator).bond, SEATS_EACH * SEAT - BOND, "slashed still");
    }

    /// @dev Where nobody is slashed either, which has a way of its own.
    function test_books_countersOfWinners() public {
        Receipt memory receipt = _honest(0, 1);
        for (uint256 i = 0; i < 3; ++i) {
            _setCounters(receipt.replicas[i].operator, type(uint32).max);
        }
        _assertSettles(receipt);
        for (uint256 i = 0; i < 3; ++i) {
            assertEq(_account(receipt.replicas[i].operator).wins, type(uint32).max, "as many as fit");
            assertEq(_account(receipt.replicas[i].operator).faults, 0, "which are no faults");
        }
    }

    function test_books_oneParty() public {
        Receipt memory first = _draft(_order(0, 1));
        address everybody = first.replicas[0].operator;
        _deposit(everybody, 500e6);
        vm.prank(everybody);
        vault.fund(everybody, 500e6);
        Order memory order = _order(0, 1);
        (order.requester, order.scheduler) = (everybody, everybody);
        Receipt memory receipt = _withOperator(order, everybody);
        _assertSettles(receipt);
        assertEq(vault.total(), _sum() + vault.budget(everybody, everybody).amount, "exact");
    }

    // --- identities ---------------------------------------------------------------------------

    /// @dev The struct hashes were computed by node/assay_node/protocol, for the same values.
    function test_typedData_vectors() public view {
        Order memory order = Order({
            requester: 0x1111111111111111111111111111111111111111,
            spec: bytes32(uint256(type(uint256).max) / 255 * 2),
            hardwareClass: bytes32(uint256(type(uint256).max) / 255 * 3),
            scheduler: 0x4444444444444444444444444444444444444444,
            fee: 5,
            maxRate: 6,
            maxSeconds: 7,
            bond: 8,
            replicas: 9,
            quorum: 10,
            maxTicket: 11,
            commitWindow: 12,
            revealWindow: 13,
            seedBlock: 14,
            expiry: 15,
            auditBps: 16,
            escalate: true,
            nonce: type(uint256).max / 255 * 17
        });
        bytes32[6] memory word;
        for (uint256 i = 1; i < 6; ++i) {
            word[i] = bytes32(type(uint256).max / 255 * i);
        }
        assertEq(
            market.jobId(order),
            _typed(0x316513bf293ee32d10f5fab72e15d343fbf01e576ba9a393ccf437d7c1800394),
            "Order"
        );
        assertEq(
            market.revealDigest(word[1], word[2], word[3], 4, 5),
            _typed(0xdccb9014c06ad0061228b7ba9fb36f52f07c27cb198b0b2d225a58c0234cd41e),
            "Reveal"
        );
        assertEq(
            market.commitDigest(word[1], 2, 3, word[4]),
            _typed(0x1ec895863ee5eda409fc29415eb9005849c8f137f852fe0592db61d1389ddd46),
            "Commit"
        );
        assertEq(
            market.commitment(word[1], 0x2222222222222222222222222222222222222222, word[3], 4, word[5]),
            0xdae94c4b104eb5248e4beb71c88d1aec1cf71de8aaefb06cd13bfa9f4f3af5ee,
            "commitment"
        );
    }

    // --- steps --------------------------------------------------------------------------------

    function _typed(bytes32 structHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Assay"),
                keccak256("1"),
                block.chainid,
                address(market)
            )
        );
        assertEq(market.domainSeparator(), domain, "the domain");
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function _freeOf(Receipt memory receipt) private view returns (uint256[] memory free) {
        free = new uint256[](receipt.replicas.length);
        for (uint256 i = 0; i < free.length; ++i) {
            free[i] = _free(receipt.replicas[i].operator);
        }
    }

    function _assertJobLog(Vm.Log memory log, bytes32 topic, bytes32 job) private view {
        assertEq(log.emitter, address(market), "by the market");
        assertEq(log.topics[0], topic, "the event");
        assertEq(log.topics[1], job, "the job");
        assertEq(address(uint160(uint256(log.topics[2]))), _requester(0), "the requester");
    }

    function _assertShare(Share share, address party, uint256 amount, ShareKind kind) private pure {
        assertEq(share.operatorOf(), party, "whose");
        assertEq(share.amountOf(), amount, "how much");
        assertEq(uint256(share.kindOf()), uint256(kind), "why");
    }

    function _assertSums(Vm.Log memory log, uint256 paid, uint256 slashed, uint256 wins, uint256 faults)
        private
        pure
    {
        Sums sums = abi.decode(log.data, (Sums));
        assertEq(sums.paidOf(), paid, "paid");
        assertEq(sums.slashedOf(), slashed, "slashed");
        assertEq(sums.winsOf(), wins, "wins");
        assertEq(sums.faultsOf(), faults, "faults");
        assertEq(sums.effortsOf(), 0, "no efforts");
    }

    /// @dev The other root, a compact signature, other lengths, other recovery ids, and nothing.
    function _otherForms(bytes memory good) private pure returns (bytes[] memory forms) {
        (bytes32 r, bytes32 s, uint8 v) = _split(good);
        bytes32 highS = bytes32(CURVE_ORDER - uint256(s));
        assert(uint256(s) <= HALF_ORDER && uint256(highS) > HALF_ORDER);
        uint8 otherV = v == 27 ? 28 : 27;
        forms = new bytes[](8);
        forms[0] = abi.encodePacked(r, highS, otherV);
        forms[1] = abi.encodePacked(r, bytes32(uint256(s) | uint256(v - 27) << 255));
        forms[2] = abi.encodePacked(good, bytes1(0));
        forms[3] = abi.encodePacked(r, s, v - 27);
        forms[4] = abi.encodePacked(r, s, uint8(29));
        forms[5] = "";
        forms[6] = abi.encodePacked(bytes32(0), bytes32(0), v);
        forms[7] = new bytes(65);
    }

    function _split(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
    }

    function _orderedBy(address requester, uint256 nonce, uint64 expiry)
        private
        view
        returns (Receipt memory)
    {
        Order memory order = _order(0, nonce);
        (order.requester, order.expiry) = (requester, expiry);
        return _seal(_draft(order));
    }

    function _notSitting(Receipt memory receipt) private pure returns (address operator) {
        uint256 i = 0;
        do {
            operator = _operator(i++);
        } while (_sits(receipt.replicas, receipt.replicas.length, operator));
    }

    /// @dev The receipt's answers for the job that its order has on the chain of now.
    function _draftLike(Receipt memory receipt) private view returns (Receipt memory again) {
        again = _draft(receipt.order);
        for (uint256 i = 0; i < again.replicas.length; ++i) {
            again.replicas[i].sig = receipt.replicas[i].sig;
        }
    }

    /// @dev A draft whose operators may sit beyond the order's own last ticket.
    function _draftWith(Order memory order, uint8 maxTicket) private view returns (Receipt memory receipt) {
        bytes32 job = market.jobId(order);
        receipt.order = order;
        receipt.replicas = new Replica[](order.replicas);
        uint256 found = 0;
        for (uint256 back = 0; found < order.replicas; ++back) {
            uint8 ticket = maxTicket - uint8(back);
            address operator = providers.drawTicket(CLASS, order.seedBlock, job, ticket);
            if (_sits(receipt.replicas, order.replicas, operator)) continue;
            ++found;
            receipt.replicas[order.replicas - found] =
                Replica(operator, 1000, ticket, 300, _answer(job, 0), bytes32(found), "");
        }
    }

    /// @dev An honest receipt that has this operator among its replicas.
    function _withOperator(Order memory order, address operator)
        private
        view
        returns (Receipt memory receipt)
    {
        do {
            order.spec = keccak256(abi.encode(order.spec));
            receipt = _draft(order);
        } while (!_sits(receipt.replicas, 3, operator));
        return _seal(receipt);
    }

    function _freshSeed() private {
        _nextSeed("fresh");
        providers.keepSeed(CLASS, seedBlock);
    }

    /// @dev Account: free (64) | bond (64) | locked (64) | wins (32) | faults (32), in slot 0's mapping.
    /// @param counters Wins, and faults above them.
    function _setCounters(address party, uint64 counters) private {
        bytes32 slot = keccak256(abi.encode(party, uint256(0)));
        uint256 word = uint256(vm.load(address(vault), slot));
        assertEq(uint64(word), _free(party), "the slot of the account");
        vm.store(address(vault), slot, bytes32(word | uint256(counters) << 192));
    }
}
