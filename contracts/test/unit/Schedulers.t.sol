// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Schedulers} from "../../src/Schedulers.sol";
import {Vault} from "../../src/Vault.sol";
import {ISchedulers} from "../../src/interfaces/ISchedulers.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {TypedData} from "../../src/libraries/TypedData.sol";
import {Assign, SchedulerBond} from "../../src/types/Assignments.sol";
import {SchedulersFixture} from "../utils/SchedulersFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @notice Hashes an assignment from call data, where TypedData wants it.
contract AssignHasher {
    function hash(Assign calldata assign) external pure returns (bytes32) {
        return TypedData.hashAssign(assign);
    }
}

/// @dev See Schedulers.tree.
contract SchedulersTest is SchedulersFixture {
    uint256 private constant NOTICE = 7 days;
    bytes32 private constant ONE_SET = keccak256("one set");
    bytes32 private constant OTHER_SET = keccak256("another set");

    // --- deployment ---------------------------------------------------------------------------

    function test_deploy() public view {
        assertEq(address(schedulers.vault()), address(vault), "its vault");
        assertEq(schedulers.market(), address(market), "the vault's market");
        assertEq(schedulers.SCHEDULER_NOTICE(), NOTICE, "the notice");
    }

    function test_deploy_notModule() public {
        Vault foreign = new Vault(usd, TREASURY, address(providers), address(market), new address[](0));
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NotModule.selector, address(foreign)));
        new Schedulers(foreign);
    }

    /// @dev Put together by hand from the text of EIP-712.
    function test_assignDigest() public {
        AssignHasher hasher = new AssignHasher();
        Assign memory assign = _afterSilence(7);
        assign.round = 3;
        bytes32 typehash = keccak256(
            "Assign(bytes32 job,uint32 round,uint32 sequence,address[] operators,uint8[] tickets,address[] replaced)"
        );
        bytes32 operators = keccak256(abi.encode(_operator(1), _operator(2), _operator(3)));
        bytes32 tickets = keccak256(abi.encode(uint256(0), uint256(2), uint256(5)));
        bytes32 replaced = keccak256(abi.encode(_operator(0)));
        bytes32 expected = keccak256(abi.encode(typehash, JOB, 3, 7, operators, tickets, replaced));
        assertEq(hasher.hash(assign), expected, "the struct hash");
        assign.replaced = new address[](0);
        expected = keccak256(abi.encode(typehash, JOB, 3, 7, operators, tickets, keccak256("")));
        assertEq(hasher.hash(assign), expected, "with an empty list");
    }

    /// @dev Computed by node/assay_node/protocol/assignment.py, for the same values.
    function test_assignDigest_vector() public pure {
        Assign memory assign;
        assign.job = bytes32(uint256(0x0101010101010101010101010101010101010101010101010101010101010101));
        (assign.round, assign.sequence) = (2, 3);
        (assign.operators, assign.tickets) = (new address[](2), new uint8[](2));
        assign.operators[0] = 0x4444444444444444444444444444444444444444;
        assign.operators[1] = 0x5555555555555555555555555555555555555555;
        (assign.tickets[0], assign.tickets[1]) = (6, 7);
        assign.replaced = new address[](1);
        assign.replaced[0] = 0x8888888888888888888888888888888888888888;
        bytes32 domain = _domain(31_337, 0x1E1e1E1E1e1e1e1e1e1E1E1E1E1e1e1E1e1e1E1E);
        bytes32 expected = 0xad41ba326c613da6cc139a1b6b75e40146d2f0077c19e183fe2e710228e95752;
        assertEq(_digest(domain, _hashOf(assign)), expected, "the digest");
    }

    // --- bond ---------------------------------------------------------------------------------

    function test_bond() public {
        assertEq(_bonded(scheduler), STAKED, "bonded");
        assertEq(_free(scheduler), LEFT_FREE, "the rest is free");
        vm.expectEmit(address(schedulers));
        emit ISchedulers.SchedulerBonded(scheduler, LEFT_FREE, STAKED + LEFT_FREE);
        _bond(scheduler, LEFT_FREE);
        assertEq(_bonded(scheduler), STAKED + LEFT_FREE, "added to");
        assertEq(_free(scheduler), 0, "nothing left");
        assertEq(vault.escrow(address(schedulers)), 2 * STAKED + LEFT_FREE, "the escrow is the bonds");
        _assertSolvent();
    }

    function test_bond_refused() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                IVault.Vault_InsufficientFree.selector, scheduler, LEFT_FREE, LEFT_FREE + 1
            )
        );
        _bond(scheduler, LEFT_FREE + 1);
        expectRevert(ISchedulers.Schedulers_AmountZero.selector);
        _bond(scheduler, 0);
    }

    function test_bond_takesBackNotice() public {
        _giveNotice(scheduler);
        _pass(1 days);
        _bond(scheduler, 1);
        assertEq(schedulers.bondOf(scheduler).leavesAt, 0, "it stays");
        assertEq(schedulers.slashableUntil(scheduler), time + NOTICE, "for a notice at least");
        _pass(NOTICE);
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NotLeaving.selector, scheduler));
        schedulers.reclaim(scheduler);
    }

    // --- giveNotice ---------------------------------------------------------------------------

    function test_giveNotice() public {
        assertEq(schedulers.slashableUntil(scheduler), time + NOTICE, "without a notice");
        vm.expectEmit(address(schedulers));
        emit ISchedulers.SchedulerLeaving(scheduler, time + NOTICE);
        _giveNotice(scheduler);
        uint256 leavesAt = time + NOTICE;
        _pass(1 days);
        assertEq(schedulers.bondOf(scheduler).leavesAt, leavesAt, "said when");
        assertEq(schedulers.slashableUntil(scheduler), leavesAt, "and it runs");
    }

    function test_giveNotice_refused() public {
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NothingBonded.selector, REPORTER));
        _giveNotice(REPORTER);
        _giveNotice(scheduler);
        uint256 leavesAt = time + NOTICE;
        _pass(1 days);
        vm.expectRevert(
            abi.encodeWithSelector(ISchedulers.Schedulers_AlreadyLeaving.selector, scheduler, leavesAt)
        );
        _giveNotice(scheduler);
    }

    // --- reclaim ------------------------------------------------------------------------------

    function test_reclaim() public {
        _giveNotice(scheduler);
        _pass(NOTICE);
        vm.expectEmit(address(schedulers));
        emit ISchedulers.SchedulerLeft(scheduler, STAKED);
        vm.prank(REPORTER);
        schedulers.reclaim(scheduler);
        assertEq(_bonded(scheduler), 0, "nothing bonded");
        assertEq(_free(scheduler), STAKED + LEFT_FREE, "it is the scheduler's");
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NotLeaving.selector, scheduler));
        schedulers.reclaim(scheduler);
        _bond(scheduler, STAKED);
        assertEq(_bonded(scheduler), STAKED, "and may come back");
        _assertSolvent();
    }

    function test_reclaim_refused() public {
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NotLeaving.selector, scheduler));
        schedulers.reclaim(scheduler);
        _giveNotice(scheduler);
        uint256 leavesAt = time + NOTICE;
        _pass(NOTICE - 1);
        vm.expectRevert(
            abi.encodeWithSelector(ISchedulers.Schedulers_StillSlashable.selector, scheduler, leavesAt)
        );
        schedulers.reclaim(scheduler);
    }

    function test_reclaim_others() public {
        _giveNotice(scheduler);
        _pass(NOTICE);
        schedulers.reclaim(scheduler);
        assertEq(_bonded(other), STAKED, "the other's stays");
        assertEq(vault.escrow(address(schedulers)), STAKED, "and is there");
    }

    // --- slashFork ----------------------------------------------------------------------------

    function test_slashFork() public {
        vm.expectEmit(address(schedulers));
        emit ISchedulers.SchedulerSlashed(scheduler, JOB, STAKED);
        bytes memory firstSig = _signed(SCHEDULER_KEY, _assign(4, 0));
        bytes memory secondSig = _signed(SCHEDULER_KEY, _assign(4, 3));
        schedulers.slashFork(_assign(4, 0), firstSig, _assign(4, 3), secondSig);
        _assertSlashed();
    }

    function test_slashFork_members() public {
        for (uint256 member = 0; member < 4; ++member) {
            Assign memory changed = _afterSilence(2);
            if (member == 0) changed.round = 1;
            if (member == 1) changed.operators[2] = _operator(9);
            if (member == 2) changed.tickets[2] = 6;
            if (member == 3) changed.replaced = new address[](0);
            _slashFork(_afterSilence(2), changed);
            _assertSlashed();
            _restore();
        }
    }

    function test_slashFork_same() public {
        _expectNoOffence();
        _slashFork(_assign(4, 0), _assign(4, 0));
    }

    function test_slashFork_honest() public {
        _expectNoOffence();
        _slashFork(_assign(0, 0), _afterSilence(1));
        Assign memory elsewhere = _assign(0, 3);
        elsewhere.job = keccak256("another job");
        _expectNoOffence();
        _slashFork(_assign(0, 0), elsewhere);
    }

    // --- slashOmission ------------------------------------------------------------------------

    function test_slashOmission() public {
        vm.recordLogs();
        _slashOmission(_assign(0, 0), _assign(1, 1), _operator(0));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs[0].topics[0], ISchedulers.SchedulerSlashed.selector, "said");
        assertEq(logs[0].topics[2], JOB, "with its job");
        _assertSlashed();
    }

    function test_slashOmission_replaced() public {
        _slashOmission(_afterSilence(1), _assign(5, 1), _operator(0));
        _assertSlashed();
    }

    function test_slashOmission_saidOpenly() public {
        for (uint256 i = 0; i < 4; ++i) {
            _expectNoOffence();
            _slashOmission(_assign(0, 0), _afterSilence(1), _operator(i));
        }
    }

    function test_slashOmission_neverNamed() public {
        _expectNoOffence();
        _slashOmission(_assign(0, 0), _assign(1, 1), _operator(9));
    }

    function test_slashOmission_order() public {
        _expectNoOffence();
        _slashOmission(_afterSilence(1), _assign(0, 1), _operator(0));
        _expectNoOffence();
        _slashOmission(_assign(1, 0), _assign(1, 1), _operator(0));
        Assign memory elsewhere = _assign(1, 1);
        elsewhere.job = keccak256("another job");
        _expectNoOffence();
        _slashOmission(_assign(0, 0), elsewhere, _operator(0));
    }

    // --- slashCommitSets ----------------------------------------------------------------------

    function test_slashCommitSets() public {
        vm.expectEmit(address(schedulers));
        emit ISchedulers.SchedulerSlashed(scheduler, JOB, STAKED);
        bytes memory firstSig = _signedSet(SCHEDULER_KEY, 1, ONE_SET);
        bytes memory secondSig = _signedSet(SCHEDULER_KEY, 1, OTHER_SET);
        schedulers.slashCommitSets(JOB, 1, ONE_SET, firstSig, OTHER_SET, secondSig);
        _assertSlashed();
    }

    function test_slashCommitSets_same() public {
        _expectNoOffence();
        _slashCommitSets(1, ONE_SET, 1, ONE_SET);
    }

    /// @dev The second set's signature is for another round, so here it is some stranger's.
    function test_slashCommitSets_rounds() public {
        bytes memory firstSig = _signedSet(SCHEDULER_KEY, 1, ONE_SET);
        bytes memory secondSig = _signedSet(SCHEDULER_KEY, 2, OTHER_SET);
        _assertTakesNothing(
            abi.encodeCall(ISchedulers.slashCommitSets, (JOB, 1, ONE_SET, firstSig, OTHER_SET, secondSig))
        );
    }

    // --- signatures ---------------------------------------------------------------------------

    function test_signatures_differ() public {
        bytes memory firstSig = _signed(SCHEDULER_KEY, _assign(0, 0));
        bytes memory secondSig = _signed(OTHER_KEY, _assign(0, 3));
        bytes memory reason =
            abi.encodeWithSelector(ISchedulers.Schedulers_SignersDiffer.selector, scheduler, other);
        vm.expectRevert(reason);
        schedulers.slashFork(_assign(0, 0), firstSig, _assign(0, 3), secondSig);
        secondSig = _signed(OTHER_KEY, _assign(1, 1));
        vm.expectRevert(reason);
        schedulers.slashOmission(_assign(0, 0), firstSig, _assign(1, 1), secondSig, _operator(0));
        firstSig = _signedSet(SCHEDULER_KEY, 0, ONE_SET);
        secondSig = _signedSet(OTHER_KEY, 0, OTHER_SET);
        vm.expectRevert(reason);
        schedulers.slashCommitSets(JOB, 0, ONE_SET, firstSig, OTHER_SET, secondSig);
    }

    function test_signatures_form() public {
        bytes memory good = _signed(SCHEDULER_KEY, _assign(0, 0));
        bytes32 digest = _digest(_domain(block.chainid, address(market)), _hashOf(_assign(0, 3)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SCHEDULER_KEY, digest);
        bytes32 highS = bytes32(CURVE_ORDER - uint256(s));
        bytes32 compact = bytes32(uint256(s) | (uint256(v - 27) << 255));
        bytes[4] memory bad = [
            bytes(""),
            abi.encodePacked(r, highS, v == 27 ? uint8(28) : uint8(27)),
            abi.encodePacked(r, compact),
            abi.encodePacked(r, s, v, uint8(0))
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            expectRevert(ISchedulers.Schedulers_SignatureInvalid.selector);
            schedulers.slashFork(_assign(0, 0), good, _assign(0, 3), bad[i]);
            expectRevert(ISchedulers.Schedulers_SignatureInvalid.selector);
            schedulers.slashFork(_assign(0, 3), bad[i], _assign(0, 0), good);
        }
    }

    function test_signatures_elsewhere() public {
        bytes32[3] memory domains = [
            _domain(block.chainid + 1, address(market)),
            _domain(block.chainid, address(schedulers)),
            _domain(block.chainid, address(road))
        ];
        bytes memory good = _signed(SCHEDULER_KEY, _assign(0, 0));
        for (uint256 i = 0; i < domains.length; ++i) {
            bytes memory foreign = _sign(SCHEDULER_KEY, _digest(domains[i], _hashOf(_assign(0, 3))));
            _assertTakesNothing(
                abi.encodeCall(ISchedulers.slashFork, (_assign(0, 0), good, _assign(0, 3), foreign))
            );
            foreign = _sign(SCHEDULER_KEY, _digest(domains[i], _hashOf(_assign(1, 1))));
            _assertTakesNothing(
                abi.encodeCall(
                    ISchedulers.slashOmission, (_assign(0, 0), good, _assign(1, 1), foreign, _operator(0))
                )
            );
            bytes memory set = _signedSet(SCHEDULER_KEY, 0, ONE_SET);
            foreign = _sign(SCHEDULER_KEY, _digest(domains[i], _setHash(0, OTHER_SET)));
            _assertTakesNothing(
                abi.encodeCall(ISchedulers.slashCommitSets, (JOB, 0, ONE_SET, set, OTHER_SET, foreign))
            );
        }
    }

    function test_signatures_tampered() public {
        bytes memory firstSig = _signed(SCHEDULER_KEY, _assign(0, 0));
        bytes memory secondSig = _signed(SCHEDULER_KEY, _assign(1, 1));
        for (uint256 member = 0; member < 6; ++member) {
            (Assign memory first, Assign memory changed) = (_assign(0, 0), _assign(1, 1));
            if (member == 0) changed.round = 1;
            if (member == 1) changed.sequence = 2;
            if (member == 2) changed.operators[0] = _operator(7);
            if (member == 3) changed.tickets[0] = 1;
            if (member == 4) changed.replaced = _assign(0, 9).operators;
            if (member == 5) (first.job, changed.job) = (ONE_SET, ONE_SET);
            _assertTakesNothing(
                abi.encodeCall(ISchedulers.slashOmission, (first, firstSig, changed, secondSig, _operator(0)))
            );
        }
        schedulers.slashOmission(_assign(0, 0), firstSig, _assign(1, 1), secondSig, _operator(0));
        _assertSlashed();
    }

    /// @dev Signed before the chain split: on the other branch it counts for nothing.
    function test_signatures_fork() public {
        bytes memory firstSig = _signed(SCHEDULER_KEY, _assign(0, 0));
        bytes memory secondSig = _signed(SCHEDULER_KEY, _assign(0, 3));
        uint256 chainId = block.chainid;
        vm.chainId(chainId + 1);
        _assertTakesNothing(
            abi.encodeCall(ISchedulers.slashFork, (_assign(0, 0), firstSig, _assign(0, 3), secondSig))
        );
        vm.chainId(chainId);
        schedulers.slashFork(_assign(0, 0), firstSig, _assign(0, 3), secondSig);
        _assertSlashed();
    }

    // --- what is slashed ----------------------------------------------------------------------

    function test_slash_leaving() public {
        _giveNotice(scheduler);
        _pass(NOTICE - 1);
        _slashFork(_assign(0, 0), _assign(0, 3));
        _assertSlashed();
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NotLeaving.selector, scheduler));
        schedulers.reclaim(scheduler);
        _restore();
        _giveNotice(scheduler);
        _pass(NOTICE + 30 days);
        _slashFork(_assign(0, 0), _assign(0, 3));
        _assertSlashed();
    }

    function test_slash_nothingBonded() public {
        _giveNotice(scheduler);
        _pass(NOTICE);
        schedulers.reclaim(scheduler);
        bytes memory reason = abi.encodeWithSelector(ISchedulers.Schedulers_NothingBonded.selector, scheduler);
        vm.expectRevert(reason);
        _slashFork(_assign(0, 0), _assign(0, 3));
        assertTrue(!schedulers.bondOf(scheduler).caught, "nothing happened");
        _bond(scheduler, STAKED);
        _slashFork(_assign(0, 0), _assign(0, 3));
        assertEq(_bonded(scheduler), 0, "an offence does not lapse");
    }

    function test_slash_once() public {
        _slashFork(_assign(0, 0), _assign(0, 3));
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NothingBonded.selector, scheduler));
        _slashFork(_assign(0, 0), _assign(0, 3));
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_Caught.selector, scheduler));
        _bond(scheduler, 1);
        vm.expectRevert(abi.encodeWithSelector(ISchedulers.Schedulers_NothingBonded.selector, scheduler));
        _giveNotice(scheduler);
    }

    function test_slash_reporter() public {
        _slashOmission(_assign(0, 0), _assign(1, 1), _operator(0));
        assertEq(_free(REPORTER), 0, "nothing for the reporter");
        assertEq(_free(TREASURY), STAKED, "all of it to the treasury");
        assertEq(_bonded(other), STAKED, "and nothing of the other's");
        assertEq(vault.escrow(address(schedulers)), STAKED, "whose bond is there");
    }

    // --- helpers ------------------------------------------------------------------------------

    function _assertSlashed() private view {
        SchedulerBond memory books = schedulers.bondOf(scheduler);
        assertEq(books.amount, 0, "the bond is gone");
        assertEq(books.leavesAt, 0, "nothing is left to leave with");
        assertTrue(books.caught, "and it is known");
        assertEq(_free(TREASURY), STAKED, "to the treasury");
        _assertSolvent();
    }

    /// @dev As before the slash, for the next case of a table.
    function _restore() private {
        vm.prank(TREASURY);
        vault.withdraw(TREASURY, STAKED);
        bytes32 slot = keccak256(abi.encode(scheduler, uint256(0)));
        vm.store(address(schedulers), slot, 0);
        _deposit(scheduler, STAKED);
        _bond(scheduler, STAKED);
    }

    function _expectNoOffence() private {
        expectRevert(ISchedulers.Schedulers_NoOffence.selector);
    }

    /// @dev What a signature is not over recovers to some stranger, or to nobody: nothing else stands in the way.
    function _assertTakesNothing(bytes memory data) private {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = address(schedulers).call(data);
        assertTrue(!done, "refused");
        // The first word of the answer holds the selector.
        // forge-lint: disable-next-line(unsafe-typecast)
        bytes4 reason = bytes4(answer);
        bool byItsSigner = reason == ISchedulers.Schedulers_SignersDiffer.selector
            || reason == ISchedulers.Schedulers_SignatureInvalid.selector;
        assertTrue(byItsSigner, "for its signer");
        assertEq(_bonded(scheduler), STAKED, "the bond is there");
    }
}
