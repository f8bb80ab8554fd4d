// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";

import {IProviders} from "../../src/interfaces/IProviders.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Order, Receipt} from "../../src/types/Orders.sol";
import {ClaimsResult, FailedClaim} from "../../src/types/Seats.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @dev See Providers.tree.
contract ProvidersTest is MarketFixture {
    bytes32 private constant OTHER_CLASS = keccak256("another hardware class");
    bytes32 private constant JOB = keccak256("job");
    /// The runtime code of EIP-2935, https://eips.ethereum.org/EIPS/eip-2935
    bytes private constant HISTORY_CODE =
        hex"3373fffffffffffffffffffffffffffffffffffffffe14604657602036036042575f35600143038111604257611fff81430311604257611fff9006545f5260205ff35b5f5ffd5b5f35611fff60014303065500";

    // --- claims of a batch --------------------------------------------------------------------

    /// @dev A seat that has changed hands since is still who had it then.
    function test_checkBatch_formerSeat() public {
        address former = _operator(0);
        vm.prank(former);
        providers.unstake(CLASS, SEATS_EACH); // the last operator's seats fill the holes
        bytes32 job = JOB;
        while (providers.drawTicket(CLASS, seedBlock, job, 0) != former) job = keccak256(abi.encode(job));
        assertEq(_failureOf(job, former, vm.addr(SIGNER_KEY)), 0, "it had the seat");
        address latter = _operator(OPERATORS - 1);
        uint256 failure = _failureOf(job, latter, vm.addr(SIGNER_KEY + OPERATORS - 1));
        assertEq(failure, uint256(ClaimsResult.NotDrawn), "it has it now");
    }

    /// @dev Its key in effect, its next one too early, its last one in the grace and after it; nobody's.
    function test_checkBatch_signer() public {
        bytes32 job = JOB;
        address operator = providers.drawTicket(CLASS, seedBlock, job, 0);
        (address last, address next) = (providers.signerOf(operator), vm.addr(0x7777));
        assertEq(_failureOf(job, operator, last), 0, "in effect");
        vm.prank(operator);
        providers.setSigner(next);
        assertEq(_failureOf(job, operator, next), uint256(ClaimsResult.NotSigner), "too early");
        assertEq(_failureOf(job, operator, last), 0, "still in effect");
        vm.warp(vm.getBlockTimestamp() + 1 days);
        assertEq(_failureOf(job, operator, next), 0, "by now");
        assertEq(_failureOf(job, operator, last), 0, "in its grace");
        vm.warp(vm.getBlockTimestamp() + 12 hours);
        assertEq(_failureOf(job, operator, last), uint256(ClaimsResult.NotSigner), "after it");
        assertEq(_failureOf(job, operator, address(0)), uint256(ClaimsResult.NotSigner), "nobody");
    }

    /// @dev What is wrong with one claim of one job at ticket 0; zero for nothing.
    function _failureOf(bytes32 job, address operator, address signer) private view returns (uint256) {
        uint256[] memory words = new uint256[](6);
        (words[0], words[1]) = (uint256(job), uint256(uint160(operator)) | 1 << 192);
        (words[2], words[3]) = (uint160(operator), uint160(signer));
        (words[4], words[5]) = (uint256(CLASS), seedBlock);
        FailedClaim[] memory failures = providers.checkBatch(2, 1, words);
        return failures.length == 0 ? 0 : uint256(failures[0].failure());
    }

    // --- stake, unstake, exit -----------------------------------------------------------------

    function test_stake() public {
        address operator = _operator(0);
        _deposit(operator, 3 * SEAT);
        uint256 before = _free(operator);
        vm.expectEmit(address(providers));
        emit IProviders.Staked(operator, CLASS, 3);
        vm.prank(operator);
        providers.stake(CLASS, 3);
        assertEq(_free(operator), before - 3 * SEAT, "paid");
        assertEq(_account(operator).bond, (SEATS_EACH + 3) * SEAT, "stake");
        assertEq(providers.seatsOf(operator, CLASS), SEATS_EACH + 3, "seats");
        assertEq(providers.seatCount(CLASS), OPERATORS * SEATS_EACH + 3, "of the class");
        _assertSolvent();
    }

    function test_stake_insufficient() public {
        address operator = _operator(0);
        uint64 free = uint64(_free(operator));
        vm.prank(operator);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_InsufficientFree.selector, operator, free, SEAT));
        providers.stake(CLASS, 1);
    }

    function test_stake_none() public {
        vm.prank(_operator(0));
        expectRevert(IProviders.Providers_NoSeats.selector);
        providers.stake(CLASS, 0);
    }

    function test_unstake() public {
        address operator = _operator(3);
        uint256 readyAt = vm.getBlockTimestamp() + 7 days;
        vm.expectEmit(address(providers));
        emit IProviders.Unstaked(operator, CLASS, 1, readyAt);
        vm.prank(operator);
        providers.unstake(CLASS, 1);
        assertEq(_account(operator).bond, SEATS_EACH * SEAT, "the stake stays");
        assertEq(providers.seatsOf(operator, CLASS), SEATS_EACH - 1, "a seat less");
        assertEq(providers.seatCount(CLASS), OPERATORS * SEATS_EACH - 1, "in the class too");
        (uint256 seats, uint256 since) = providers.standing(operator);
        assertEq(seats, SEATS_EACH - 1, "in all");
        assertEq(since, readyAt, "ready then");
    }

    function test_unstake_tooMany() public {
        vm.prank(_operator(0));
        vm.expectRevert(
            abi.encodeWithSelector(IProviders.Providers_TooFewSeats.selector, _operator(0), CLASS, 2, 3)
        );
        providers.unstake(CLASS, 3);
    }

    /// @dev After any leaving and joining every ticket draws somebody who holds a seat. Slow: fewer runs.
    /// forge-config: default.fuzz.runs = 24
    function testFuzz_unstake_dense(uint256 choices) public {
        uint256[] memory held = new uint256[](OPERATORS);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            held[i] = SEATS_EACH;
        }
        for (uint256 step = 0; step < 24; ++step) {
            uint256 who = (choices >> 8 * step & 0xff) % OPERATORS;
            if (held[who] == 0 || step % 5 == 4) {
                _deposit(_operator(who), SEAT);
                vm.prank(_operator(who));
                providers.stake(CLASS, 1);
                ++held[who];
            } else {
                vm.prank(_operator(who));
                providers.unstake(CLASS, 1);
                --held[who];
            }
            if (step % 3 == 0) vm.roll(vm.getBlockNumber() + 1);
        }
        _nextSeed(abi.encode(choices));
        uint256 seats = 0;
        for (uint256 i = 0; i < OPERATORS; ++i) {
            assertEq(providers.seatsOf(_operator(i), CLASS), held[i], "each holds what it bought");
            seats += held[i];
        }
        assertEq(providers.seatCount(CLASS), seats, "and the class has no others");
        uint256 missing = 0;
        uint256[] memory hits = _hits(255, JOB);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            assertTrue(held[i] != 0 || hits[i] == 0, "nobody without a seat");
            if (held[i] != 0 && hits[i] == 0) ++missing;
        }
        // 256 tickets over at most 39 seats miss one seat with probability 0.0013.
        assertTrue(missing <= 2, "and every seat is somebody's");
    }

    function test_unstake_slashable() public {
        Order memory order = _order(0, 1);
        Receipt memory receipt = _withLiar(order, 1);
        address liar = receipt.replicas[1].operator;
        vm.prank(liar);
        providers.unstake(CLASS, SEATS_EACH);
        vm.prank(liar);
        vm.expectRevert(
            abi.encodeWithSelector(
                IProviders.Providers_StillUnbonding.selector, liar, vm.getBlockTimestamp() + 7 days
            )
        );
        providers.exit();
        _assertSettles(receipt);
        assertEq(_account(liar).bond, SEATS_EACH * SEAT - 50e6, "slashed all the same");
    }

    function test_classes() public {
        address operator = _operator(0);
        _deposit(operator, SEAT);
        vm.prank(operator);
        providers.stake(OTHER_CLASS, 1);
        assertEq(providers.seatCount(CLASS), OPERATORS * SEATS_EACH, "the one as before");
        assertEq(providers.seatCount(OTHER_CLASS), 1, "the other has it");
        (uint256 seats,) = providers.standing(operator);
        assertEq(seats, SEATS_EACH + 1, "both need backing");
        _nextSeed("both");
        address[] memory drawn = providers.draw(OTHER_CLASS, seedBlock, JOB, 9);
        for (uint256 i = 0; i < drawn.length; ++i) {
            assertEq(drawn[i], operator, "its only seat");
        }
    }

    function test_exit() public {
        address operator = _operator(0);
        uint256 before = _free(operator);
        vm.prank(operator);
        providers.unstake(CLASS, SEATS_EACH);
        uint256 readyAt = vm.getBlockTimestamp() + 7 days;
        vm.warp(readyAt - 1);
        _expectUnbonding(operator, readyAt);
        vm.warp(readyAt);
        vm.expectEmit(address(providers));
        emit IProviders.Exited(operator, uint64(SEATS_EACH) * SEAT);
        vm.prank(operator);
        providers.exit();
        assertEq(_account(operator).bond, 0, "no stake");
        assertEq(_free(operator), before + SEATS_EACH * SEAT, "free");
        _assertSolvent();
    }

    function test_exit_afterSlash() public {
        Receipt memory receipt = _withLiar(_order(0, 1), 0);
        address liar = receipt.replicas[0].operator;
        uint256 before = _free(liar);
        vm.prank(liar);
        providers.unstake(CLASS, SEATS_EACH);
        _assertSettles(receipt);
        vm.warp(vm.getBlockTimestamp() + 7 days);
        vm.prank(liar);
        providers.exit();
        assertEq(_free(liar), before + SEATS_EACH * SEAT - 50e6, "what the slash left");
        _assertSolvent();
    }

    function test_exit_waitsAgain() public {
        address operator = _operator(0);
        vm.prank(operator);
        providers.unstake(CLASS, 1);
        vm.warp(vm.getBlockTimestamp() + 6 days);
        vm.prank(operator);
        providers.unstake(CLASS, 1);
        vm.warp(vm.getBlockTimestamp() + 1 days);
        _expectUnbonding(operator, vm.getBlockTimestamp() + 6 days);
    }

    function test_exit_keepsBacking() public {
        address operator = _operator(0);
        vm.prank(operator);
        providers.unstake(CLASS, 1);
        vm.warp(vm.getBlockTimestamp() + 7 days);
        vm.prank(operator);
        providers.exit();
        assertEq(_account(operator).bond, (SEATS_EACH - 1) * SEAT, "the other seat's stake");
    }

    function test_exit_nothing() public {
        vm.prank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(IProviders.Providers_NothingToExit.selector, _operator(0)));
        providers.exit();
    }

    function test_topUp() public {
        vm.prank(_operator(0));
        providers.topUp(1e6);
        assertEq(_account(_operator(0)).bond, SEATS_EACH * SEAT + 1e6, "more stake");
        assertEq(providers.seatsOf(_operator(0), CLASS), SEATS_EACH, "the same seats");
    }

    function test_evict_covered() public {
        // Two seats need 500 USD behind them: a slash of 500 leaves just that.
        address operator = _slash(500e6);
        _expectCovered(operator, 1);
    }

    function test_evict() public {
        address operator = _slash(501e6);
        uint256 readyAt = vm.getBlockTimestamp() + 7 days;
        vm.expectEmit(address(providers));
        emit IProviders.Evicted(operator, CLASS, 1, readyAt);
        vm.prank(address(0xBEEF));
        providers.evict(operator, CLASS, 1);
        assertEq(providers.seatsOf(operator, CLASS), SEATS_EACH - 1, "a seat less");
        _expectCovered(operator, 1);
    }

    function test_evict_tooMany() public {
        address operator = _slash(501e6);
        _expectCovered(operator, 2);
        _expectCovered(operator, 3);
    }

    // --- draw ---------------------------------------------------------------------------------

    function test_draw_joinLate() public {
        vm.roll(vm.getBlockNumber() + 1);
        uint256 number = vm.getBlockNumber();
        _newOperator(OPERATORS, 50); // in the seed block itself
        vm.roll(number + 1);
        vm.setBlockhash(number, keccak256("joining"));
        bytes32 before = keccak256(abi.encode(providers.draw(CLASS, number, JOB, 200)));
        _newOperator(OPERATORS + 1, 50); // once the seed is known
        address[] memory drawn = providers.draw(CLASS, number, JOB, 200);
        assertEq(keccak256(abi.encode(drawn)), before, "the same draw");
        for (uint256 i = 0; i < drawn.length; ++i) {
            assertTrue(drawn[i] != _operator(OPERATORS), "without those who joined in the block");
            assertTrue(drawn[i] != address(0), "nor a place for them");
        }
        _nextSeed("later");
        uint256[] memory hits = _hits(200, JOB);
        assertTrue(hits[OPERATORS] > 0 && hits[OPERATORS + 1] > 0, "they are in the next");
    }

    function test_draw_leaveLate() public {
        vm.roll(vm.getBlockNumber() + 1);
        uint256 number = vm.getBlockNumber();
        vm.prank(_operator(0));
        providers.unstake(CLASS, SEATS_EACH); // in the seed block itself
        vm.roll(number + 1);
        vm.setBlockhash(number, keccak256("leaving"));
        seedBlock = uint64(number);
        bytes32 before = keccak256(abi.encode(providers.draw(CLASS, number, JOB, 200)));
        assertTrue(_hits(200, JOB)[0] > 0, "still drawn");
        vm.prank(_operator(1));
        providers.unstake(CLASS, SEATS_EACH); // once the seed is known
        assertEq(keccak256(abi.encode(providers.draw(CLASS, number, JOB, 200))), before, "the same draw");
    }

    function test_draw_leaveBefore() public {
        vm.prank(_operator(0));
        providers.unstake(CLASS, SEATS_EACH);
        _nextSeed("after leaving");
        assertEq(_hits(255, JOB)[0], 0, "not drawn");
    }

    function test_draw_bySeats() public {
        _newOperator(OPERATORS, OPERATORS * SEATS_EACH); // as many as all others together
        _nextSeed("a whale");
        uint256 whale = 0;
        for (uint256 job = 0; job < 8; ++job) {
            whale += _hits(249, bytes32(job))[OPERATORS];
        }
        // Of 2000 draws 1000, give or take five standard deviations.
        assertTrue(whale > 888 && whale < 1112, "half of the draws");
    }

    function test_draw_differs() public {
        bytes32 first = keccak256(abi.encode(providers.draw(CLASS, seedBlock, JOB, 30)));
        assertTrue(
            keccak256(abi.encode(providers.draw(CLASS, seedBlock, keccak256("job 2"), 30))) != first,
            "by the job"
        );
        _nextSeed("another");
        assertTrue(keccak256(abi.encode(providers.draw(CLASS, seedBlock, JOB, 30))) != first, "by the seed");
    }

    function test_draw_empty() public view {
        address[] memory drawn = providers.draw(OTHER_CLASS, seedBlock, JOB, 3);
        assertEq(drawn.length, 4, "one for each ticket");
        for (uint256 i = 0; i < drawn.length; ++i) {
            assertEq(drawn[i], address(0), "nobody");
        }
    }

    function test_drawTicket() public view {
        address[] memory drawn = providers.draw(CLASS, seedBlock, JOB, 20);
        for (uint256 i = 0; i < drawn.length; ++i) {
            assertEq(providers.drawTicket(CLASS, seedBlock, JOB, i), drawn[i], "the same");
        }
    }

    // --- seeds --------------------------------------------------------------------------------

    function test_seed_future() public {
        _expectUnknown(vm.getBlockNumber());
        _expectUnknown(vm.getBlockNumber() + 1);
        _expectUnknown(type(uint64).max);
        _expectUnknown(type(uint256).max);
    }

    function test_seed_zero() public {
        _expectUnknown(0);
    }

    function test_seed_history() public {
        bytes32 before = keccak256(abi.encode(providers.draw(CLASS, seedBlock, JOB, 30)));
        _serveHistory(seedBlock, keccak256("seed"));
        vm.roll(seedBlock + 257);
        _assertDraws(before);
        vm.roll(seedBlock + 8191);
        _assertDraws(before);
    }

    function test_seed_beyondHistory() public {
        _serveHistory(seedBlock, keccak256("seed"));
        vm.roll(seedBlock + 8192);
        _expectUnknown(seedBlock);
    }

    function test_keepSeed() public {
        bytes32 before = keccak256(abi.encode(providers.draw(CLASS, seedBlock, JOB, 30)));
        vm.expectEmit(address(providers));
        bytes32 kept = keccak256("seed") >> 80 << 80;
        emit IProviders.SeedKept(CLASS, seedBlock, kept, OPERATORS * SEATS_EACH);
        providers.keepSeed(CLASS, seedBlock);
        _assertDraws(before);
        vm.roll(seedBlock + 100_000);
        vm.prank(_operator(0));
        providers.unstake(CLASS, SEATS_EACH);
        _assertDraws(before);
        vm.warp(vm.getBlockTimestamp() + 16 hours);
        _assertDraws(before);
        vm.warp(vm.getBlockTimestamp() + 1);
        _expectUnknown(seedBlock);
    }

    function test_keepSeed_again() public {
        providers.keepSeed(CLASS, seedBlock);
        vm.warp(vm.getBlockTimestamp() + 16 hours);
        vm.recordLogs();
        providers.keepSeed(CLASS, seedBlock);
        assertEq(vm.getRecordedLogs().length, 0, "no second log");
        vm.roll(seedBlock + 100_000);
        vm.warp(vm.getBlockTimestamp() + 1);
        _expectUnknown(seedBlock);
    }

    function test_keepSeed_unknown() public {
        uint256 number = vm.getBlockNumber();
        vm.expectRevert(abi.encodeWithSelector(IProviders.Providers_SeedUnknown.selector, number));
        providers.keepSeed(CLASS, number);
    }

    // --- signing keys -------------------------------------------------------------------------

    function test_setSigner_first() public {
        address operator = address(0xBEEF);
        assertEq(providers.signerOf(operator), address(0), "none yet");
        assertTrue(!providers.isSigner(operator, address(0)), "and nobody signs for it");
        vm.expectEmit(address(providers));
        emit IProviders.SignerSet(operator, address(1), vm.getBlockTimestamp());
        vm.prank(operator);
        providers.setSigner(address(1));
        assertEq(providers.signerOf(operator), address(1), "at once");
        assertEq(providers.operatorOf(address(1)), operator, "and back");
        assertTrue(!providers.isSigner(operator, address(0)), "still nobody but the key");
    }

    function test_setSigner_change() public {
        address operator = _operator(0);
        (address old, address fresh) = (vm.addr(SIGNER_KEY), address(0xF4E5));
        uint256 since = vm.getBlockTimestamp() + 1 days;
        _setSigner(operator, fresh);
        vm.warp(since - 1);
        assertEq(providers.signerOf(operator), old, "the old key until the delay is over");
        _assertSigns(operator, old, fresh);
        vm.warp(since);
        assertEq(providers.signerOf(operator), fresh, "then the new one");
        assertTrue(providers.isSigner(operator, fresh) && providers.isSigner(operator, old), "grace");
        vm.warp(since + 12 hours - 1);
        assertTrue(providers.isSigner(operator, old), "to its end");
        vm.warp(since + 12 hours);
        _assertSigns(operator, fresh, old);
    }

    function test_setSigner_replacePending() public {
        address operator = _operator(0);
        address old = vm.addr(SIGNER_KEY);
        _setSigner(operator, address(0xBAD));
        vm.warp(vm.getBlockTimestamp() + 12 hours);
        _setSigner(operator, address(0xF4E5));
        vm.warp(vm.getBlockTimestamp() + 1 days - 1);
        _assertSigns(operator, old, address(0xBAD));
        vm.warp(vm.getBlockTimestamp() + 1);
        assertEq(providers.signerOf(operator), address(0xF4E5), "the last named");
        assertTrue(providers.isSigner(operator, old), "the old key in its grace");
        assertTrue(!providers.isSigner(operator, address(0xBAD)), "the replaced one never");
    }

    function test_setSigner_inGrace() public {
        address operator = _operator(0);
        _setSigner(operator, address(0xF4E5));
        uint256 settledAt = vm.getBlockTimestamp() + 1 days + 12 hours;
        vm.warp(settledAt - 1);
        vm.prank(operator);
        vm.expectRevert(
            abi.encodeWithSelector(IProviders.Providers_SignerChanging.selector, operator, settledAt)
        );
        providers.setSigner(address(0xF4E6));
        vm.warp(settledAt);
        _setSigner(operator, address(0xF4E6));
        assertTrue(providers.isSigner(operator, address(0xF4E5)), "still in effect");
    }

    function test_setSigner_taken() public {
        vm.prank(_operator(0));
        vm.expectRevert(
            abi.encodeWithSelector(
                IProviders.Providers_SignerTaken.selector, vm.addr(SIGNER_KEY + 1), _operator(1)
            )
        );
        providers.setSigner(vm.addr(SIGNER_KEY + 1));
    }

    function test_setSigner_takenForEver() public {
        address old = vm.addr(SIGNER_KEY + 1);
        _setSigner(_operator(1), address(0xF4E5));
        vm.warp(vm.getBlockTimestamp() + 365 days);
        vm.prank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(IProviders.Providers_SignerTaken.selector, old, _operator(1)));
        providers.setSigner(old);
        _setSigner(_operator(1), old);
    }

    function test_setSigner_zero() public {
        vm.prank(_operator(0));
        expectRevert(IProviders.Providers_SignerZero.selector);
        providers.setSigner(address(0));
    }

    // --- steps --------------------------------------------------------------------------------

    function _setSigner(address operator, address signer) private {
        vm.prank(operator);
        providers.setSigner(signer);
    }

    function _assertSigns(address operator, address one, address other) private view {
        assertTrue(providers.isSigner(operator, one), "the one signs");
        assertTrue(!providers.isSigner(operator, other), "the other does not");
    }

    function _expectUnbonding(address operator, uint256 readyAt) private {
        vm.prank(operator);
        vm.expectRevert(
            abi.encodeWithSelector(IProviders.Providers_StillUnbonding.selector, operator, readyAt)
        );
        providers.exit();
    }

    function _expectUnknown(uint256 number) private {
        vm.expectRevert(abi.encodeWithSelector(IProviders.Providers_SeedUnknown.selector, number));
        providers.draw(CLASS, number, JOB, 0);
    }

    function _expectCovered(address operator, uint256 seats) private {
        vm.expectRevert(
            abi.encodeWithSelector(
                IProviders.Providers_SeatsCovered.selector,
                operator,
                providers.seatsOf(operator, CLASS),
                _account(operator).bond
            )
        );
        providers.evict(operator, CLASS, seats);
    }

    function _assertDraws(bytes32 expected) private view {
        address[] memory drawn = providers.draw(CLASS, seedBlock, JOB, 30);
        assertEq(keccak256(abi.encode(drawn)), expected, "the same draw");
    }

    /// @dev How often each operator is drawn by tickets 0 .. maxTicket.
    function _hits(uint256 maxTicket, bytes32 job) private view returns (uint256[] memory hits) {
        hits = new uint256[](OPERATORS + 2);
        address[] memory drawn = providers.draw(CLASS, seedBlock, job, maxTicket);
        for (uint256 ticket = 0; ticket < drawn.length; ++ticket) {
            uint256 i = 0;
            while (drawn[ticket] != _operator(i)) ++i;
            ++hits[i];
        }
    }

    /// @dev Has an operator lose `amount` to a quorum.
    function _slash(uint64 amount) private returns (address operator) {
        Order memory order = _order(0, 99);
        order.bond = amount;
        Receipt memory receipt = _withLiar(order, 2);
        _assertSettles(receipt);
        return receipt.replicas[2].operator;
    }

    function _serveHistory(uint256 number, bytes32 hash) private {
        vm.etch(Blockhash.HISTORY_STORAGE_ADDRESS, HISTORY_CODE);
        vm.store(Blockhash.HISTORY_STORAGE_ADDRESS, bytes32(number % 8191), hash);
    }
}
