// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vault} from "../../src/Vault.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Records} from "../../src/libraries/Records.sol";
import {Account} from "../../src/types/Accounts.sol";
import {Share, ShareKind, toShare} from "../../src/types/Share.sol";
import {EFFORT_ONE, Sums} from "../../src/types/Sums.sol";
import {Assertions} from "../utils/Assertions.sol";
import {PlainToken} from "../utils/Tokens.sol";
import {vm} from "../utils/Vm.sol";

/// @dev See VaultModules.tree. The test plays Market, Providers and both modules itself.
contract VaultModulesTest is Assertions {
    address private constant TREASURY = address(0x7EA5);
    address private constant PROVIDERS = address(0x9207);
    address private constant MARKET = address(0x3A87);
    address private constant ROAD = address(0x40AD);
    address private constant LEASES = address(0x1EA5);
    address private constant REQUESTER = address(0xC1);
    address private constant SCHEDULER = address(0x5C);
    address private constant OPERATOR = address(0x09);
    address private constant OTHER = address(0x0A);
    uint64 private constant BUDGET = 100e6;
    uint64 private constant STAKE = 500e6;
    bytes private constant UNDERFLOW = abi.encodeWithSignature("Panic(uint256)", 0x11);

    PlainToken private _token;
    Vault private _vault;

    function setUp() public {
        _token = new PlainToken(6);
        address[] memory modules = new address[](2);
        (modules[0], modules[1]) = (ROAD, LEASES);
        _vault = new Vault(_token, TREASURY, PROVIDERS, MARKET, modules);
        _deposit(REQUESTER, BUDGET);
        vm.prank(REQUESTER);
        _vault.fund(SCHEDULER, BUDGET);
        _deposit(OPERATOR, STAKE);
        _deposit(OTHER, STAKE);
        vm.prank(PROVIDERS);
        _vault.bond(OPERATOR, STAKE);
        vm.prank(PROVIDERS);
        _vault.bond(OTHER, STAKE);
    }

    function test_notModule() public {
        bytes[] memory calls = new bytes[](6);
        calls[0] = abi.encodeCall(IVault.reserve, (REQUESTER, SCHEDULER, 1, 1));
        calls[1] = abi.encodeCall(IVault.refund, (REQUESTER, SCHEDULER, 1));
        calls[2] = abi.encodeCall(IVault.collect, (REQUESTER, 1));
        calls[3] = abi.encodeCall(IVault.pay, (REQUESTER, 1));
        calls[4] = abi.encodeCall(IVault.lock, (OPERATOR, 1));
        calls[5] = abi.encodeCall(IVault.distribute, (new Share[](0), 0));
        address[3] memory strangers = [address(this), MARKET, PROVIDERS];
        for (uint256 s = 0; s < strangers.length; ++s) {
            for (uint256 i = 0; i < calls.length; ++i) {
                vm.prank(strangers[s]);
                // solhint-disable-next-line avoid-low-level-calls
                (bool done, bytes memory answer) = address(_vault).call(calls[i]);
                assertTrue(!done, "refused");
                assertEq(
                    keccak256(answer),
                    keccak256(abi.encodeWithSelector(IVault.Vault_NotModule.selector, strangers[s])),
                    "for this reason"
                );
            }
        }
        assertTrue(_vault.isModule(ROAD), "the road is one");
        assertTrue(!_vault.isModule(MARKET), "the market is none");
    }

    function test_reserve() public {
        _reserve(7, 30e6);
        assertEq(_vault.budget(REQUESTER, SCHEDULER).amount, 70e6, "from the budget");
        assertEq(_vault.escrow(ROAD), 30e6, "into escrow");
        assertTrue(_vault.nonceUsed(REQUESTER, 7), "the nonce is spent");
        assertTrue(!_vault.nonceUsed(REQUESTER, 6), "and no other");
        _assertSolvent();
    }

    function test_reserve_nonceSpent() public {
        _reserve(7, 1);
        vm.prank(ROAD);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_NonceSpent.selector, REQUESTER, 7));
        _vault.reserve(REQUESTER, SCHEDULER, 7, 1);
    }

    function test_reserve_anyNonce() public {
        uint256[4] memory nonces = [uint256(255), 256, 1025, type(uint256).max];
        for (uint256 i = 0; i < nonces.length; ++i) {
            _reserve(nonces[i], 1);
            assertTrue(_vault.nonceUsed(REQUESTER, nonces[i]), "spent");
            vm.prank(ROAD);
            vm.expectRevert(abi.encodeWithSelector(IVault.Vault_NonceSpent.selector, REQUESTER, nonces[i]));
            _vault.reserve(REQUESTER, SCHEDULER, nonces[i], 1);
        }
        assertTrue(!_vault.nonceUsed(REQUESTER, 512), "and no other");
        assertTrue(!_vault.nonceUsed(REQUESTER, 0), "nor the first");
    }

    function test_reserve_budgetTooSmall() public {
        vm.prank(ROAD);
        vm.expectRevert(
            abi.encodeWithSelector(
                IVault.Vault_BudgetTooSmall.selector, REQUESTER, SCHEDULER, BUDGET, BUDGET + 1
            )
        );
        _vault.reserve(REQUESTER, SCHEDULER, 7, BUDGET + 1);
        assertTrue(!_vault.nonceUsed(REQUESTER, 7), "nothing is spent");
    }

    function test_refund() public {
        _reserve(7, 30e6);
        vm.prank(REQUESTER);
        _vault.close(SCHEDULER);
        vm.prank(ROAD);
        _vault.refund(REQUESTER, SCHEDULER, 20e6);
        assertEq(_vault.budget(REQUESTER, SCHEDULER).amount, 90e6, "back");
        assertEq(_vault.escrow(ROAD), 10e6, "the rest stays");
        assertTrue(_vault.budget(REQUESTER, SCHEDULER).closesAt != 0, "still closing");
        _assertSolvent();
    }

    function test_collectAndPay() public {
        _deposit(REQUESTER, 5e6);
        vm.prank(LEASES);
        _vault.collect(REQUESTER, 5e6);
        assertEq(_vault.account(REQUESTER).free, 0, "collected");
        vm.prank(LEASES);
        _vault.pay(OPERATOR, 2e6);
        assertEq(_vault.account(OPERATOR).free, 2e6, "paid");
        assertEq(_vault.escrow(LEASES), 3e6, "the rest");
        vm.prank(LEASES);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_InsufficientFree.selector, REQUESTER, 0, 1));
        _vault.collect(REQUESTER, 1);
        _assertSolvent();
    }

    function test_pay_ownEscrowOnly() public {
        _reserve(7, 30e6);
        vm.prank(LEASES);
        vm.expectRevert(UNDERFLOW);
        _vault.pay(LEASES, 1);
        vm.prank(LEASES);
        vm.expectRevert(UNDERFLOW);
        _vault.refund(REQUESTER, SCHEDULER, 1);
    }

    function test_lock() public {
        _lock(OPERATOR, 200e6);
        _lock(OPERATOR, 300e6);
        assertEq(_vault.account(OPERATOR).locked, STAKE, "all of it");
        assertEq(_vault.account(OPERATOR).bond, STAKE, "stays stake");
    }

    function test_lock_promised() public {
        _lock(OPERATOR, 200e6);
        vm.prank(LEASES);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_StakeLocked.selector, OPERATOR, 300e6, 300e6 + 1));
        _vault.lock(OPERATOR, 300e6 + 1);
    }

    function test_lock_noExit() public {
        _lock(OPERATOR, 200e6);
        vm.prank(PROVIDERS);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_StakeLocked.selector, OPERATOR, 300e6, 300e6 + 1));
        _vault.release(OPERATOR, 300e6 + 1);
        vm.prank(PROVIDERS);
        _vault.release(OPERATOR, 300e6);
        assertEq(_vault.account(OPERATOR).free, 300e6, "what nothing holds may leave");
    }

    function test_lock_survivesReceipts() public {
        _lock(OPERATOR, 450e6);
        uint256[] memory record = new uint256[](Records.HEAD_WORDS + 2);
        (record[1], record[2], record[5]) = (uint160(REQUESTER), 1, 2);
        record[6] = Share.unwrap(toShare(OPERATOR, 100e6, ShareKind.Slashed));
        record[7] = Share.unwrap(toShare(SCHEDULER, 0, ShareKind.Fee));
        vm.prank(MARKET);
        (, uint256[] memory slashes) = _vault.post(1, 1, record);
        assertEq(slashes[0], 50e6, "what nothing holds");
        assertEq(_vault.account(OPERATOR).bond, 450e6, "the rest answers for something else");
    }

    function test_distribute() public {
        _reserve(7, 30e6);
        _lock(OPERATOR, 10e6);
        _lock(OTHER, 10e6);
        Share[] memory shares = new Share[](2);
        shares[0] = toShare(OPERATOR, 12e6, ShareKind.Won);
        shares[1] = toShare(OTHER, 10e6, ShareKind.Slashed);
        vm.prank(ROAD);
        uint64[] memory moved = _vault.distribute(shares, 10e6);
        assertEq(moved[0], 12e6, "paid");
        assertEq(moved[1], 10e6, "slashed");
        Account memory winner = _vault.account(OPERATOR);
        Account memory liar = _vault.account(OTHER);
        assertEq(winner.free, 12e6, "the winner's");
        assertEq(winner.wins, 1, "a win");
        assertEq(winner.locked, 0, "let go");
        assertEq(winner.bond, STAKE, "whole");
        assertEq(liar.bond, STAKE - 10e6, "the liar's");
        assertEq(liar.faults, 1, "a fault");
        assertEq(liar.locked, 0, "let go too");
        assertEq(_vault.account(TREASURY).free, 10e6, "to the treasury");
        assertEq(_vault.escrow(ROAD), 18e6, "the slash is no payment");

        _lock(OPERATOR, 1e6);
        vm.expectEmit(address(_vault));
        emit IVault.OperatorSettled(OPERATOR, Sums.wrap(3e6 + EFFORT_ONE));
        vm.prank(ROAD);
        _vault.distribute(_one(OPERATOR, 3e6, ShareKind.Effort), 1e6);
        assertEq(_vault.account(OPERATOR).free, 15e6, "effort");
        assertEq(_vault.account(OPERATOR).wins, 1, "is no win");
        assertEq(_vault.escrow(ROAD), 15e6, "paid from escrow");
        _assertSolvent();
    }

    function test_distribute_slashOne() public {
        vm.prank(ROAD);
        _vault.distribute(_one(OPERATOR, 1, ShareKind.Slashed), 0);
        assertEq(_vault.account(TREASURY).free, 1, "to the unit");
        _assertSolvent();
    }

    function test_distribute_slashEnds() public {
        _lock(OPERATOR, 10e6);
        vm.prank(ROAD);
        uint64[] memory moved = _vault.distribute(_one(OPERATOR, STAKE + 1, ShareKind.Slashed), 10e6);
        assertEq(moved[0], STAKE, "all there was");
        assertEq(_vault.account(OPERATOR).bond, 0, "nothing left");
        _assertSolvent();
    }

    function test_distribute_ownEscrowOnly() public {
        _reserve(7, 30e6);
        vm.prank(LEASES);
        vm.expectRevert(UNDERFLOW);
        _vault.distribute(_one(OPERATOR, 1, ShareKind.Won), 0);
        vm.prank(ROAD);
        vm.expectRevert(UNDERFLOW);
        _vault.distribute(_one(OPERATOR, 1, ShareKind.Won), 1);
    }

    function _one(address operator, uint64 amount, ShareKind kind)
        private
        pure
        returns (Share[] memory shares)
    {
        shares = new Share[](1);
        shares[0] = toShare(operator, amount, kind);
    }

    function _reserve(uint256 nonce, uint64 amount) private {
        vm.prank(ROAD);
        _vault.reserve(REQUESTER, SCHEDULER, nonce, amount);
    }

    function _lock(address operator, uint64 amount) private {
        vm.prank(ROAD);
        _vault.lock(operator, amount);
    }

    function _deposit(address to, uint64 amount) private {
        _token.mint(address(this), amount);
        _token.approve(address(_vault), amount);
        _vault.deposit(to, amount);
    }

    function _assertSolvent() private view {
        uint256 sum = _vault.budget(REQUESTER, SCHEDULER).amount;
        sum += _vault.escrow(ROAD) + _vault.escrow(LEASES);
        address[5] memory parties = [TREASURY, REQUESTER, SCHEDULER, OPERATOR, OTHER];
        for (uint256 i = 0; i < parties.length; ++i) {
            Account memory books = _vault.account(parties[i]);
            sum += uint256(books.free) + books.bond;
        }
        assertEq(sum, _vault.total(), "every micro-USD is in one place");
        assertEq(sum, _token.balanceOf(address(_vault)), "and backed by a token");
    }
}
