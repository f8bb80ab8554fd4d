// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deploy} from "../../script/Deploy.s.sol";
import {TestUsd} from "../../script/TestUsd.sol";
import {Court} from "../../src/Court.sol";
import {Leases} from "../../src/Leases.sol";
import {Market} from "../../src/Market.sol";
import {Providers} from "../../src/Providers.sol";
import {Road} from "../../src/Road.sol";
import {Schedulers} from "../../src/Schedulers.sol";
import {Vault} from "../../src/Vault.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {Account} from "../../src/types/Accounts.sol";
import {Order, Receipt, Replica} from "../../src/types/Orders.sol";
import {Assertions} from "./Assertions.sol";
import {Vm, vm} from "./Vm.sol";

/// @notice A market with operators in one hardware class, requesters with budgets, and a seed to draw by.
abstract contract MarketFixture is Assertions {
    uint256 internal constant OPERATORS = 12;
    uint256 internal constant REQUESTERS = 4;
    uint256 internal constant SEATS_EACH = 2;
    uint256 internal constant OPERATOR_KEY = 0x1000;
    uint256 internal constant REQUESTER_KEY = 0x2000;
    uint256 internal constant SIGNER_KEY = 0x3000;
    uint256 internal constant SCHEDULER_KEY = 0x4000;
    uint64 internal constant BUDGET = 900_000e6;
    uint64 internal constant SEAT = 500e6;
    bytes32 internal constant CLASS = keccak256("hardware class");
    address internal constant TREASURY = address(0x7EA5);
    uint256 internal constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;
    uint256 internal constant CURVE_ORDER =
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;

    TestUsd internal usd;
    Vault internal vault;
    Providers internal providers;
    Market internal market;
    Road internal road;
    Leases internal leases;
    Court internal court;
    Schedulers internal schedulers;
    address internal scheduler;
    address[] internal parties;
    uint64 internal seedBlock;
    mapping(address party => uint256 key) internal keyOf;
    mapping(address operator => uint256 key) internal signerKeyOf;

    function setUp() public virtual {
        usd = new TestUsd();
        Deploy script = new Deploy();
        Deploy.Deployment memory deployment = script.deploy(address(script), usd, TREASURY);
        (vault, providers, market) = (deployment.vault, deployment.providers, deployment.market);
        (road, leases, court) = (deployment.road, deployment.leases, deployment.court);
        schedulers = deployment.schedulers;

        scheduler = _party(SCHEDULER_KEY);
        parties.push(TREASURY);
        for (uint256 i = 0; i < OPERATORS; ++i) {
            _newOperator(i, SEATS_EACH);
        }
        for (uint256 i = 0; i < REQUESTERS; ++i) {
            address requester = _party(REQUESTER_KEY + i);
            _deposit(requester, BUDGET + 1000e6);
            vm.prank(requester);
            vault.fund(scheduler, BUDGET);
        }
        _nextSeed("seed");
    }

    // --- people -------------------------------------------------------------------------------

    function _party(uint256 key) internal returns (address party) {
        party = vm.addr(key);
        keyOf[party] = key;
        parties.push(party);
    }

    function _operator(uint256 i) internal pure returns (address) {
        return vm.addr(OPERATOR_KEY + i);
    }

    function _requester(uint256 i) internal pure returns (address) {
        return vm.addr(REQUESTER_KEY + i);
    }

    function _newOperator(uint256 i, uint256 seats) internal returns (address operator) {
        operator = _party(OPERATOR_KEY + i);
        signerKeyOf[operator] = SIGNER_KEY + i;
        // Something is left free, so that a settlement meets an account in use.
        _deposit(operator, uint64(seats) * SEAT + 1e6);
        vm.prank(operator);
        providers.stake(CLASS, seats);
        vm.prank(operator);
        providers.setSigner(vm.addr(SIGNER_KEY + i));
    }

    function _deposit(address party, uint64 amount) internal {
        usd.mint(party, amount);
        vm.prank(party);
        usd.approve(address(vault), amount);
        vm.prank(party);
        vault.deposit(party, amount);
    }

    // --- time ---------------------------------------------------------------------------------

    /// @dev Ends the current block and mines one whose hash is known.
    function _nextSeed(bytes memory entropy) internal {
        uint256 number = vm.getBlockNumber() + 1;
        vm.roll(number + 1);
        vm.setBlockhash(number, keccak256(entropy));
        seedBlock = uint64(number);
    }

    // --- orders and receipts ------------------------------------------------------------------

    function _order(uint256 requester, uint256 nonce) internal view returns (Order memory order) {
        order = Order({
            requester: _requester(requester),
            spec: keccak256(abi.encode("spec", requester, nonce)),
            hardwareClass: CLASS,
            scheduler: scheduler,
            fee: 2000,
            maxRate: 1500,
            maxSeconds: 600,
            bond: 50e6,
            replicas: 3,
            quorum: 2,
            maxTicket: 40,
            commitWindow: 600,
            revealWindow: 600,
            seedBlock: seedBlock,
            expiry: uint64(vm.getBlockTimestamp() + 3600),
            auditBps: 0,
            escalate: false,
            nonce: nonce
        });
    }

    /// @dev An honest receipt, not signed yet: the first distinct operators of the draw, agreeing.
    function _draft(Order memory order) internal view returns (Receipt memory receipt) {
        bytes32 job = market.jobId(order);
        address[] memory drawn = providers.draw(order.hardwareClass, order.seedBlock, job, order.maxTicket);
        receipt.order = order;
        receipt.replicas = new Replica[](order.replicas);
        uint256 found = 0;
        for (uint256 ticket = 0; found < order.replicas; ++ticket) {
            if (_sits(receipt.replicas, found, drawn[ticket])) continue;
            receipt.replicas[found] = Replica({
                operator: drawn[ticket],
                rate: uint64(1000 + found),
                ticket: uint8(ticket),
                secs: uint32(300 + 7 * found),
                tag: _answer(job, 0),
                salt: keccak256(abi.encode("salt", job, found)),
                sig: ""
            });
            ++found;
        }
    }

    function _sits(Replica[] memory replicas, uint256 count, address operator) internal pure returns (bool) {
        for (uint256 i = 0; i < count; ++i) {
            if (replicas[i].operator == operator) return true;
        }
        return false;
    }

    function _answer(bytes32 job, uint256 variant) internal pure returns (bytes32) {
        return keccak256(abi.encode(job, uint32(0), keccak256(abi.encode("output", variant))));
    }

    /// @dev Signs everything as the parties would after seeing what stands in the receipt now.
    function _seal(Receipt memory receipt) internal view returns (Receipt memory) {
        bytes32 job = market.jobId(receipt.order);
        receipt.requesterSig = _sign(keyOf[receipt.order.requester], job);
        bytes32 commits = _commitSet(receipt, job);
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            Replica memory replica = receipt.replicas[i];
            bytes32 digest = market.revealDigest(job, commits, replica.tag, replica.rate, replica.secs);
            replica.sig = _sign(signerKeyOf[replica.operator], digest);
        }
        return receipt;
    }

    function _commitSet(Receipt memory receipt, bytes32 job) internal pure returns (bytes32) {
        bytes memory commits;
        for (uint256 i = 0; i < receipt.replicas.length; ++i) {
            Replica memory replica = receipt.replicas[i];
            commits = abi.encodePacked(
                commits, keccak256(abi.encode(job, replica.operator, replica.tag, replica.secs, replica.salt))
            );
        }
        return keccak256(commits);
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _honest(uint256 requester, uint256 nonce) internal view returns (Receipt memory) {
        return _seal(_draft(_order(requester, nonce)));
    }

    /// @dev One replica answers something else.
    function _withLiar(Order memory order, uint256 liar) internal view returns (Receipt memory receipt) {
        receipt = _draft(order);
        receipt.replicas[liar].tag = _answer(market.jobId(order), 1 + liar);
        return _seal(receipt);
    }

    /// @dev Changes one of the 25 members of a receipt that are signed, or are a signature.
    function _tamper(Receipt memory receipt, uint256 member, uint256 change) internal view {
        Order memory order = receipt.order;
        Replica memory replica = receipt.replicas[change % 3];
        uint64 wide = uint64(bound(change, 1, type(uint64).max));
        uint32 narrow = uint32(bound(change, 1, type(uint32).max));
        uint8 tiny = uint8(bound(change, 1, type(uint8).max));
        if (member == 0) order.requester = address(uint160(order.requester) ^ uint160(wide));
        if (member == 1) order.spec ^= bytes32(change);
        if (member == 2) order.hardwareClass ^= bytes32(change);
        if (member == 3) order.scheduler = address(uint160(order.scheduler) ^ uint160(wide));
        if (member == 4) order.fee ^= wide;
        if (member == 5) order.maxRate ^= wide;
        if (member == 6) order.maxSeconds ^= narrow;
        if (member == 7) order.bond ^= wide;
        if (member == 8) order.replicas ^= tiny;
        if (member == 9) order.quorum ^= tiny;
        if (member == 10) order.maxTicket ^= tiny;
        if (member == 11) order.commitWindow ^= narrow;
        if (member == 12) order.revealWindow ^= narrow;
        if (member == 13) order.seedBlock ^= wide;
        if (member == 14) order.expiry ^= wide;
        if (member == 15) order.auditBps ^= uint16(bound(change, 1, type(uint16).max));
        if (member == 16) order.escalate = !order.escalate;
        if (member == 17) order.nonce ^= change;
        if (member == 18) replica.operator = address(uint160(replica.operator) ^ uint160(wide));
        if (member == 19) replica.rate ^= wide;
        if (member == 20) replica.ticket ^= tiny;
        if (member == 21) replica.secs ^= narrow;
        if (member == 22) replica.tag ^= bytes32(change);
        if (member == 23) replica.salt ^= bytes32(change);
        if (member == 24) replica.sig = _sign(signerKeyOf[replica.operator], bytes32(change));
    }

    // --- settling -----------------------------------------------------------------------------

    function _batch(Receipt memory receipt) internal pure returns (Receipt[] memory receipts) {
        receipts = new Receipt[](1);
        receipts[0] = receipt;
    }

    function _settle(Receipt memory receipt) internal {
        market.settle(_batch(receipt));
    }

    function _assertSettles(Receipt memory receipt) internal {
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        Vm.Log memory last = logs[logs.length - 1];
        bytes32 topic = last.topics[0];
        if (topic == IMarket.ReceiptSkipped.selector) {
            revert NotEqual("skipped for", uint32(abi.decode(last.data, (bytes4))), 0);
        }
        assertEq(last.topics[1], market.jobId(receipt.order), "the job in the event");
    }

    /// @dev Skipped for this reason, with a log and without any effect.
    function _assertSkipped(Receipt memory receipt, bytes4 reason) internal {
        bytes32 books = _books();
        vm.recordLogs();
        _settle(receipt);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "one log");
        assertEq(logs[0].emitter, address(market), "by the market");
        assertEq(logs[0].topics[0], IMarket.ReceiptSkipped.selector, "a receipt skipped");
        assertEq(logs[0].topics[1], market.jobId(receipt.order), "the job in the log");
        assertEq(uint32(abi.decode(logs[0].data, (bytes4))), uint32(reason), "the reason");
        assertEq(_books(), books, "nobody pays for a skipped receipt");
    }

    // --- books --------------------------------------------------------------------------------

    function _account(address party) internal view returns (Account memory) {
        return vault.account(party);
    }

    function _free(address party) internal view returns (uint256) {
        return vault.account(party).free;
    }

    function _budget(uint256 requester) internal view returns (uint256) {
        return vault.budget(_requester(requester), scheduler).amount;
    }

    /// @dev Everything the Vault holds for the parties of this fixture.
    function _books() internal view returns (bytes32 hash) {
        for (uint256 i = 0; i < parties.length; ++i) {
            hash = keccak256(abi.encode(hash, vault.account(parties[i]), vault.budget(parties[i], scheduler)));
        }
    }

    function _sum() internal view returns (uint256 sum) {
        for (uint256 i = 0; i < parties.length; ++i) {
            Account memory books = vault.account(parties[i]);
            sum += books.free + books.bond + vault.budget(parties[i], scheduler).amount;
        }
        sum += vault.escrow(address(road)) + vault.escrow(address(leases));
        sum += vault.escrow(address(schedulers));
        sum += vault.escrow(address(court)) + vault.budget(address(court), address(0)).amount;
    }

    /// @dev What was slashed in jobs without audits: final, or still held.
    function _slashed() internal view returns (uint256) {
        return vault.account(TREASURY).free + vault.escrow(address(court));
    }

    function _assertSolvent() internal view {
        assertEq(_sum(), vault.total(), "the books add up");
        assertEq(usd.balanceOf(address(vault)), vault.total(), "the tokens are there");
    }
}
