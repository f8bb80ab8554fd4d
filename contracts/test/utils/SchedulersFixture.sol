// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TypedData} from "../../src/libraries/TypedData.sol";
import {Assign} from "../../src/types/Assignments.sol";
import {MarketFixture} from "./MarketFixture.sol";
import {vm} from "./Vm.sol";

/// @notice Schedulers with bonds, and what they sign.
abstract contract SchedulersFixture is MarketFixture {
    uint64 internal constant STAKED = 100e6;
    uint64 internal constant LEFT_FREE = 50e6;
    uint256 internal constant OTHER_KEY = 0x4001;
    address internal constant REPORTER = address(0x4E904);
    bytes32 internal constant JOB = keccak256("job");

    address internal other;
    /// Never read back from the EVM's own timestamp, which the compiler may take for a constant.
    uint256 internal time;

    function setUp() public virtual override {
        super.setUp();
        time = vm.getBlockTimestamp();
        other = _party(OTHER_KEY);
        parties.push(REPORTER);
        _deposit(scheduler, STAKED + LEFT_FREE);
        _deposit(other, STAKED + LEFT_FREE);
        _bond(scheduler, STAKED);
        _bond(other, STAKED);
    }

    // --- bonds --------------------------------------------------------------------------------

    function _bond(address who, uint64 amount) internal {
        vm.prank(who);
        schedulers.bond(amount);
    }

    function _giveNotice(address who) internal {
        vm.prank(who);
        schedulers.giveNotice();
    }

    function _pass(uint256 secs) internal {
        time += secs;
        vm.warp(time);
    }

    function _bonded(address who) internal view returns (uint256) {
        return schedulers.bondOf(who).amount;
    }

    // --- what schedulers sign -----------------------------------------------------------------

    /// @dev Operators `first` .. `first + 2` at tickets 0, 2 and 5, nobody replaced.
    function _assign(uint32 sequence, uint256 first) internal pure returns (Assign memory assign) {
        assign.job = JOB;
        assign.sequence = sequence;
        assign.operators = new address[](3);
        assign.tickets = new uint8[](3);
        for (uint256 i = 0; i < 3; ++i) {
            assign.operators[i] = _operator(first + i);
        }
        (assign.tickets[1], assign.tickets[2]) = (2, 5);
        assign.replaced = new address[](0);
    }

    /// @dev What an honest scheduler signs after `_assign(0, 0)` when operator 0 was silent.
    function _afterSilence(uint32 sequence) internal pure returns (Assign memory assign) {
        assign = _assign(sequence, 1);
        assign.replaced = new address[](1);
        assign.replaced[0] = _operator(0);
    }

    function _domain(uint256 chainId, address verifying) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Assay"),
                keccak256("1"),
                chainId,
                verifying
            )
        );
    }

    function _digest(bytes32 domain, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    /// @dev TypedData hashes call data only, and a call would use up what a test expects of the next one.
    function _hashOf(Assign memory assign) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                TypedData.ASSIGN_TYPEHASH,
                assign.job,
                assign.round,
                assign.sequence,
                keccak256(abi.encodePacked(assign.operators)),
                keccak256(abi.encodePacked(assign.tickets)),
                keccak256(abi.encodePacked(assign.replaced))
            )
        );
    }

    function _signed(uint256 key, Assign memory assign) internal view returns (bytes memory) {
        return _sign(key, _digest(_domain(block.chainid, address(market)), _hashOf(assign)));
    }

    function _setHash(uint32 round, bytes32 commits) internal pure returns (bytes32) {
        return TypedData.hashCommitSet(JOB, round, commits);
    }

    function _signedSet(uint256 key, uint32 round, bytes32 commits) internal view returns (bytes memory) {
        return _sign(key, _digest(_domain(block.chainid, address(market)), _setHash(round, commits)));
    }

    function _slashFork(Assign memory first, Assign memory second) internal {
        bytes memory firstSig = _signed(SCHEDULER_KEY, first);
        bytes memory secondSig = _signed(SCHEDULER_KEY, second);
        vm.prank(REPORTER);
        schedulers.slashFork(first, firstSig, second, secondSig);
    }

    function _slashOmission(Assign memory earlier, Assign memory later, address omitted) internal {
        bytes memory earlierSig = _signed(SCHEDULER_KEY, earlier);
        bytes memory laterSig = _signed(SCHEDULER_KEY, later);
        vm.prank(REPORTER);
        schedulers.slashOmission(earlier, earlierSig, later, laterSig, omitted);
    }

    function _slashCommitSets(uint32 firstRound, bytes32 first, uint32 secondRound, bytes32 second) internal {
        bytes memory firstSig = _signedSet(SCHEDULER_KEY, firstRound, first);
        bytes memory secondSig = _signedSet(SCHEDULER_KEY, secondRound, second);
        vm.prank(REPORTER);
        schedulers.slashCommitSets(JOB, firstRound, first, firstSig, second, secondSig);
    }
}
