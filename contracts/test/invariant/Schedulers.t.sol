// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SchedulerBond} from "../../src/types/Assignments.sol";
import {SchedulersFixture} from "../utils/SchedulersFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice A random life of several schedulers' bonds; forge calls the functions below in any order.
/// @dev Each does what its party can do now, so nothing here may revert. The ghosts know what was put in and taken.
contract SchedulersHandler is SchedulersFixture {
    uint256 private constant PEOPLE = 4;

    struct Ghost {
        uint256 bonded;
        uint256 noticeAt;
        bool caught;
    }

    mapping(uint256 who => Ghost) private _ghosts;
    uint256 private _taken;
    uint256 private _inside;

    constructor() {
        setUp();
        for (uint256 i = 2; i < PEOPLE; ++i) {
            _deposit(_party(SCHEDULER_KEY + i), STAKED);
        }
        (_ghosts[0].bonded, _ghosts[1].bonded) = (STAKED, STAKED);
        _inside = vault.total();
    }

    function bond(uint256 who, uint64 amount) external {
        who %= PEOPLE;
        address party = vm.addr(SCHEDULER_KEY + who);
        if (_ghosts[who].caught || _free(party) == 0) return;
        amount = uint64(bound(amount, 1, _free(party)));
        _bond(party, amount);
        _ghosts[who].bonded += amount;
        _ghosts[who].noticeAt = 0;
    }

    function giveNotice(uint256 who) external {
        who %= PEOPLE;
        if (_ghosts[who].bonded == 0 || _ghosts[who].noticeAt != 0) return;
        _giveNotice(vm.addr(SCHEDULER_KEY + who));
        _ghosts[who].noticeAt = time;
    }

    function reclaim(uint256 who) external {
        who %= PEOPLE;
        Ghost storage ghost = _ghosts[who];
        if (ghost.noticeAt == 0 || time < ghost.noticeAt + 7 days) return;
        address party = vm.addr(SCHEDULER_KEY + who);
        uint256 before = _free(party);
        vm.prank(REPORTER);
        schedulers.reclaim(party);
        assertEq(_free(party) - before, ghost.bonded, "all of it");
        (ghost.bonded, ghost.noticeAt) = (0, 0);
    }

    function slash(uint256 who, uint32 number) external {
        who %= PEOPLE;
        // One in four, or everybody is caught at once.
        if (_ghosts[who].bonded == 0 || number % 4 != 0) return;
        bytes memory firstSig = _signed(SCHEDULER_KEY + who, _assign(number, 0));
        bytes memory secondSig = _signed(SCHEDULER_KEY + who, _assign(number, 1));
        schedulers.slashFork(_assign(number, 0), firstSig, _assign(number, 1), secondSig);
        _taken += _ghosts[who].bonded;
        _ghosts[who] = Ghost(0, 0, true);
    }

    function withdraw(uint256 who, uint64 amount) external {
        address party = vm.addr(SCHEDULER_KEY + who % PEOPLE);
        amount = uint64(bound(amount, 0, _free(party)));
        vm.prank(party);
        vault.withdraw(party, amount);
        _inside -= amount;
    }

    function deposit(uint256 who, uint64 amount) external {
        amount = uint64(bound(amount, 0, 1000e6));
        _deposit(vm.addr(SCHEDULER_KEY + who % PEOPLE), amount);
        _inside += amount;
    }

    function pass(uint256 secs) external {
        _pass(bound(secs, 1, 5 days));
    }

    /// @notice The escrow is the bonds, each bond is what its scheduler put in, and the treasury has what was slashed.
    function assertBooks() external view {
        uint256 sum = 0;
        for (uint256 who = 0; who < PEOPLE; ++who) {
            SchedulerBond memory books = schedulers.bondOf(vm.addr(SCHEDULER_KEY + who));
            Ghost storage ghost = _ghosts[who];
            assertEq(books.amount, ghost.bonded, "its money, to the unit");
            assertTrue(books.caught == ghost.caught, "caught or not");
            assertEq(books.leavesAt, ghost.noticeAt == 0 ? 0 : ghost.noticeAt + 7 days, "its notice");
            sum += books.amount;
        }
        assertEq(vault.escrow(address(schedulers)), sum, "the escrow is the bonds");
        assertEq(_free(TREASURY), _taken, "the treasury has what was slashed");
        assertEq(vault.total(), _inside, "no bond makes or loses money");
        _assertSolvent();
    }

    /// @notice Everybody who was not caught can have its bond back, whatever the others did.
    /// @dev Run once at the end of a life: it changes the books.
    function leaveAll() external {
        for (uint256 who = 0; who < PEOPLE; ++who) {
            if (_ghosts[who].bonded != 0 && _ghosts[who].noticeAt == 0) {
                _giveNotice(vm.addr(SCHEDULER_KEY + who));
            }
        }
        _pass(7 days);
        for (uint256 who = 0; who < PEOPLE; ++who) {
            if (_ghosts[who].bonded != 0) schedulers.reclaim(vm.addr(SCHEDULER_KEY + who));
        }
        assertEq(vault.escrow(address(schedulers)), 0, "nothing is left behind");
        _assertSolvent();
    }
}

/// @notice What holds whatever schedulers do.
contract SchedulersInvariantTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    SchedulersHandler private _handler;

    function setUp() public {
        _handler = new SchedulersHandler();
    }

    function afterInvariant() public {
        _handler.leaveAll();
    }

    /// @dev Read by forge: whom it calls.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @dev Read by forge: what it does not call.
    function excludeSelectors() public view returns (FuzzSelector[] memory excluded) {
        excluded = new FuzzSelector[](1);
        excluded[0] = FuzzSelector(address(_handler), new bytes4[](2));
        excluded[0].selectors[0] = SchedulersFixture.setUp.selector;
        excluded[0].selectors[1] = SchedulersHandler.leaveAll.selector;
    }

    function invariant_books() public view {
        _handler.assertBooks();
    }
}
