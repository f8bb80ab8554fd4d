// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lease, LeaseStatus, Terms} from "../../src/types/ServiceLeases.sol";
import {LeasesFixture} from "../utils/LeasesFixture.sol";
import {vm} from "../utils/Vm.sol";

/// @notice A random life of several leases between the same few people; forge calls the functions below in any order.
/// @dev Each does what its party can do now, so nothing here may revert. The ghosts know each second's price and
/// when the requester gave notice, and nothing of how Leases keeps its books.
contract LeasesHandler is LeasesFixture {
    uint256 private constant PEOPLE = 3;
    uint256 private constant LEASES_MAX = 40;

    struct Ghost {
        bytes32 id;
        address requester;
        address operator;
        bool leftByOperator;
        uint256 price;
        uint256 notice;
        uint256 startedAt;
        /// What its parties and strangers put in.
        uint256 put;
        /// When the requester stopped; zero if it did not.
        uint256 noticeAt;
        /// Its books when it was first seen ended.
        bytes32 ended;
    }

    Ghost[] private _ghosts;
    uint256 private _inside;

    constructor() {
        setUp();
        for (uint256 i = 1; i < PEOPLE; ++i) {
            _newOperator(i);
            _newRequester(i);
        }
        _inside = vault.total();
    }

    // --- what people do -----------------------------------------------------------------------

    function start(uint256 who, uint48 rate, uint48 feeRate, uint64 escrow, uint32 notice, bool cancelled)
        external
    {
        if (_ghosts.length == LEASES_MAX) return;
        Terms memory terms = _terms();
        uint256 requester = who % PEOPLE;
        uint256 operator = (who >> 8) % PEOPLE;
        if (providers.seatsOf(_operator(operator), CLASS) == 0) return;
        (terms.requester, terms.operator) = (_requester(requester), _operator(operator));
        terms.nonce = _ghosts.length;
        terms.rate = uint48(bound(rate, 1, 50_000));
        terms.feeRate = uint48(bound(feeRate, 0, 5000));
        terms.notice = uint32(bound(notice, 0, 6 hours));
        uint256 price = uint256(terms.rate) + terms.feeRate;
        uint256 least = terms.notice * price;
        uint256 most = least + 1 days * price;
        if (most > _free(terms.requester)) most = _free(terms.requester);
        if (least > most) return;
        terms.escrow = uint64(bound(escrow, least, most));
        bytes32 id = leases.leaseId(terms);
        if (cancelled) {
            vm.prank(terms.requester);
            leases.cancel(terms);
        } else {
            _startBetween(terms, REQUESTER_KEY + requester, OPERATOR_KEY + operator);
        }
        _ghosts.push(
            Ghost({
                id: id,
                requester: terms.requester,
                operator: terms.operator,
                leftByOperator: false,
                price: price,
                notice: terms.notice,
                startedAt: time,
                put: cancelled ? 0 : terms.escrow,
                noticeAt: 0,
                ended: 0
            })
        );
        _look();
    }

    function settle(uint256 which) external {
        (bool found, Ghost storage ghost) = _open(which);
        if (!found) return;
        vm.prank(STRANGER);
        leases.settle(ghost.id);
        _look();
    }

    function topUp(uint256 which, uint256 who, uint64 amount) external {
        (bool found, Ghost storage ghost) = _running(which);
        if (!found) return;
        address payer = parties[who % parties.length];
        amount = uint64(bound(amount, 0, _free(payer)));
        _topUp(payer, ghost.id, amount);
        ghost.put += amount;
        _look();
    }

    function stopByOperator(uint256 which) external {
        (bool found, Ghost storage ghost) = _running(which);
        if (!found) return;
        _stop(ghost.operator, ghost.id);
        ghost.leftByOperator = true;
        _look();
    }

    function stopByRequester(uint256 which) external {
        (bool found, Ghost storage ghost) = _running(which);
        if (!found || ghost.noticeAt != 0) return;
        _stop(ghost.requester, ghost.id);
        ghost.noticeAt = time;
        _look();
    }

    function withdraw(uint256 who, uint64 amount) external {
        address party = parties[who % parties.length];
        amount = uint64(bound(amount, 0, _free(party)));
        vm.prank(party);
        vault.withdraw(party, amount);
        _inside -= amount;
    }

    function deposit(uint256 who, uint64 amount) external {
        amount = uint64(bound(amount, 0, 1000e6));
        _deposit(parties[who % parties.length], amount);
        _inside += amount;
    }

    function unstake(uint256 who) external {
        address operator = _operator(who % PEOPLE);
        if (providers.seatsOf(operator, CLASS) == 0 || who % 4 != 0) return;
        vm.prank(operator);
        providers.unstake(CLASS, 1);
    }

    function pass(uint256 secs) external {
        _pass(bound(secs, 1, 8 hours));
    }

    // --- what holds ---------------------------------------------------------------------------

    /// @notice All that the books hold, the tokens behind it, and each lease's own part of the escrow.
    function assertSolvent() external view {
        _assertSolvent();
        assertEq(vault.total(), _inside, "no lease makes or loses money");
        uint256 sum = 0;
        for (uint256 i = 0; i < _ghosts.length; ++i) {
            sum += leases.leaseOf(_ghosts[i].id).escrow;
        }
        assertEq(sum, vault.escrow(address(leases)), "the escrow is the leases'");
    }

    /// @notice What ended has not moved since.
    function assertEndedStay() external view {
        for (uint256 i = 0; i < _ghosts.length; ++i) {
            if (_ghosts[i].ended == 0) continue;
            assertEq(_booksOf(_ghosts[i].id), _ghosts[i].ended, "ended for good");
        }
    }

    /// @notice Nobody pays for more than the time there was, nor for more than the notice after stopping; and no
    /// operator that stays gets less than that notice, unless the money ends sooner.
    function assertOneNotice() external view {
        for (uint256 i = 0; i < _ghosts.length; ++i) {
            Ghost storage ghost = _ghosts[i];
            Lease memory books = leases.leaseOf(ghost.id);
            if (books.requester == address(0)) continue; // cancelled
            uint256 secs = books.paidUntil - ghost.startedAt;
            assertTrue(secs <= time - ghost.startedAt, "no second before its time");
            assertTrue(secs * ghost.price <= ghost.put, "the operator was never served on credit");
            if (ghost.noticeAt != 0) {
                assertTrue(books.paidUntil <= ghost.noticeAt + ghost.notice, "one notice, not more");
            }
            if (books.status == LeaseStatus.Ended && !ghost.leftByOperator) {
                assertEq(books.paidUntil, _promisedUntil(ghost), "the operator had its notice");
            }
            if (books.status == LeaseStatus.Open) {
                assertEq(books.escrow, ghost.put - secs * ghost.price, "its money, to the unit");
            }
        }
    }

    /// @notice Anybody can have every lease paid now, and each that is over ended.
    /// @dev Run once at the end of a life: it changes the books.
    function endAll() external {
        for (uint256 i = 0; i < _ghosts.length; ++i) {
            Ghost storage ghost = _ghosts[i];
            if (_status(ghost.id) != LeaseStatus.Open) continue;
            if (time < leases.endsAt(ghost.id)) _stop(ghost.operator, ghost.id);
            else leases.settle(ghost.id);
            _assertEnded(ghost.id);
        }
        assertEq(vault.escrow(address(leases)), 0, "nothing is left behind");
        _assertSolvent();
    }

    // --- ghosts -------------------------------------------------------------------------------

    function _open(uint256 which) private view returns (bool found, Ghost storage ghost) {
        if (_ghosts.length == 0) return (false, _nobody());
        ghost = _ghosts[which % _ghosts.length];
        return (_status(ghost.id) == LeaseStatus.Open, ghost);
    }

    function _running(uint256 which) private view returns (bool found, Ghost storage ghost) {
        (found, ghost) = _open(which);
        found = found && time < leases.endsAt(ghost.id);
    }

    function _nobody() private pure returns (Ghost storage ghost) {
        assembly {
            ghost.slot := 0
        }
    }

    /// @dev Notes what has just ended.
    function _look() private {
        for (uint256 i = 0; i < _ghosts.length; ++i) {
            Ghost storage ghost = _ghosts[i];
            if (ghost.ended != 0 || _status(ghost.id) != LeaseStatus.Ended) continue;
            ghost.ended = _booksOf(ghost.id);
        }
    }

    /// @dev When a lease ends that its operator does not leave: with the money, or a notice after its requester's stop.
    function _promisedUntil(Ghost storage ghost) private view returns (uint256 until) {
        until = ghost.startedAt + ghost.put / ghost.price;
        if (ghost.noticeAt == 0) return until;
        uint256 stop = ghost.noticeAt + ghost.notice;
        return stop < until ? stop : until;
    }

    function _booksOf(bytes32 id) private view returns (bytes32) {
        return keccak256(abi.encode(leases.leaseOf(id)));
    }
}

/// @notice What holds whatever the parties of leases do.
contract LeasesInvariantTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    LeasesHandler private _handler;

    function setUp() public {
        _handler = new LeasesHandler();
    }

    function afterInvariant() public {
        _handler.endAll();
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
        excluded[0].selectors[0] = LeasesFixture.setUp.selector;
        excluded[0].selectors[1] = LeasesHandler.endAll.selector;
    }

    function invariant_solvent() public view {
        _handler.assertSolvent();
    }

    function invariant_endedStay() public view {
        _handler.assertEndedStay();
    }

    function invariant_oneNotice() public view {
        _handler.assertOneNotice();
    }
}
