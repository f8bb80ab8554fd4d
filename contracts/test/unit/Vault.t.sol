// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Vault} from "../../src/Vault.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Order} from "../../src/types/Orders.sol";
import {MarketFixture} from "../utils/MarketFixture.sol";
import {HookedToken, ISender, PlainToken, TaxedToken} from "../utils/Tokens.sol";
import {vm} from "../utils/Vm.sol";

/// @notice What is done to the Vault while tokens move.
enum Nested {
    Deposit,
    DepositWithPermit,
    Withdraw
}

/// @notice Deposits, and while its tokens move does something else to the Vault.
contract Nester is ISender {
    Vault private immutable VAULT;
    Nested private immutable WHAT;
    bool private _nested;

    constructor(Vault vault, HookedToken token, Nested what) {
        (VAULT, WHAT) = (vault, what);
        token.approve(address(vault), type(uint256).max);
    }

    function go(uint64 amount) external {
        VAULT.deposit(address(this), amount);
    }

    function onSending() external {
        if (_nested) return;
        _nested = true;
        if (WHAT == Nested.Withdraw) VAULT.withdraw(address(this), 1e6);
        else if (WHAT == Nested.Deposit) VAULT.deposit(address(this), 1e6);
        else VAULT.depositWithPermit(address(this), 1e6, 0, 0, 0, 0);
    }
}

/// @dev See Vault.tree.
contract VaultTest is MarketFixture {
    bytes32 private constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    uint256 private constant OWNER_KEY = 0x5000;

    function test_deposit_credits() public {
        address to = address(0xBEEF);
        usd.mint(address(this), 3e6);
        usd.approve(address(vault), 3e6);
        vm.expectEmit(address(vault));
        emit IVault.Deposited(address(this), to, 3e6);
        vault.deposit(to, 3e6);
        assertEq(_free(to), 3e6, "credited");
        assertEq(_free(address(this)), 0, "the payer is not");
    }

    function test_deposit_scales() public {
        PlainToken token = new PlainToken(18);
        Vault other = _vaultOf(token);
        token.mint(address(this), 5e18);
        token.approve(address(other), 5e18);
        other.deposit(address(this), 5e6);
        assertEq(other.account(address(this)).free, 5e6, "micro-USD");
        assertEq(token.balanceOf(address(other)), 5e18, "token units");
        other.withdraw(address(0xBEEF), 2e6);
        assertEq(token.balanceOf(address(0xBEEF)), 2e18, "and back");
    }

    function test_deposit_fewDecimals() public {
        PlainToken token = new PlainToken(5);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_TooFewDecimals.selector, 5));
        new Vault(token, TREASURY, address(1), address(2), new address[](0));
    }

    function test_deposit_taxed() public {
        TaxedToken token = new TaxedToken();
        Vault other = _vaultOf(token);
        token.mint(address(this), 1e6);
        token.approve(address(other), 1e6);
        other.deposit(address(this), 1e6);
        assertEq(other.account(address(this)).free, 990_000, "what arrived");
        assertEq(other.total(), 990_000, "and no more in the books");
    }

    function test_deposit_nested() public {
        (Nester nester, Vault other) = _nester(Nested.Deposit);
        expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        nester.go(1e6);
        assertEq(other.total(), 0, "nothing credited");
    }

    function test_deposit_nestedWithdrawal() public {
        (Nester nester, Vault other) = _nester(Nested.Withdraw);
        expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        nester.go(1e6);
        assertEq(other.total(), 0, "nothing credited");
    }

    function test_permit_nested() public {
        (Nester nester, Vault other) = _nester(Nested.DepositWithPermit);
        expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        nester.go(1e6);
        assertEq(other.total(), 0, "nothing credited");
    }

    function test_deposit_full() public {
        uint64 rest = type(uint64).max - vault.total();
        _deposit(address(this), rest);
        assertEq(vault.total(), type(uint64).max, "to the brim");
        usd.mint(address(this), 1);
        usd.approve(address(vault), 1);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_Full.selector, uint256(type(uint64).max) + 1));
        vault.deposit(address(this), 1);
    }

    function test_permit() public {
        address owner = vm.addr(OWNER_KEY);
        usd.mint(owner, 7e6);
        (uint8 v, bytes32 r, bytes32 s) = _permit(7e6);
        vm.prank(owner);
        vault.depositWithPermit(owner, 7e6, type(uint256).max, v, r, s);
        assertEq(_free(owner), 7e6, "credited");
    }

    function test_permit_scales() public {
        PlainToken token = new PlainToken(18);
        Vault other = _vaultOf(token);
        token.mint(address(this), 5e18);
        token.approve(address(other), 5e18); // the token has no permits
        vm.expectCall(
            address(token),
            abi.encodeCall(IERC20Permit.permit, (address(this), address(other), 5e18, 9, 27, bytes32("r"), 0))
        );
        other.depositWithPermit(address(this), 5e6, 9, 27, "r", 0);
        assertEq(other.account(address(this)).free, 5e6, "micro-USD");
    }

    function test_permit_frontRun() public {
        address owner = vm.addr(OWNER_KEY);
        usd.mint(owner, 7e6);
        (uint8 v, bytes32 r, bytes32 s) = _permit(7e6);
        usd.permit(owner, address(vault), 7e6, type(uint256).max, v, r, s); // by anybody
        vm.prank(owner);
        vault.depositWithPermit(owner, 7e6, type(uint256).max, v, r, s);
        assertEq(_free(owner), 7e6, "credited");
    }

    function test_permit_bad() public {
        address owner = vm.addr(OWNER_KEY);
        usd.mint(owner, 7e6);
        (uint8 v, bytes32 r, bytes32 s) = _permit(7e6 + 1);
        vm.prank(owner);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(vault), 0, 7e6)
        );
        vault.depositWithPermit(owner, 7e6, type(uint256).max, v, r, s);
    }

    function test_withdraw() public {
        address owner = _requester(0);
        uint256 before = _free(owner);
        vm.expectEmit(address(vault));
        emit IVault.Withdrawn(owner, address(0xBEEF), 4e6);
        vm.prank(owner);
        vault.withdraw(address(0xBEEF), 4e6);
        assertEq(usd.balanceOf(address(0xBEEF)), 4e6, "sent");
        assertEq(_free(owner), before - 4e6, "debited");
        _assertSolvent();
    }

    function test_withdraw_insufficient() public {
        _expectInsufficient(_requester(0), uint64(_free(_requester(0))) + 1);
    }

    function test_withdraw_notStakeNorBudget() public {
        _expectInsufficient(_operator(0), uint64(_free(_operator(0))) + 1);
        assertTrue(_account(_operator(0)).bond > 1, "though there is stake");
        assertTrue(_budget(0) > 1, "and there are budgets");
    }

    function test_fund() public {
        vm.expectEmit(address(vault));
        emit IVault.BudgetFunded(_requester(0), address(0xBEEF), 5e6);
        vm.prank(_requester(0));
        vault.fund(address(0xBEEF), 5e6);
        assertEq(vault.budget(_requester(0), address(0xBEEF)).amount, 5e6, "set aside");
        assertEq(vault.budget(_requester(0), scheduler).amount, BUDGET, "for nobody else");
        assertEq(_free(_requester(0)), 995e6, "no longer free");
    }

    function test_reclaim_notice() public {
        address requester = _requester(0);
        uint256 closesAt = vm.getBlockTimestamp() + 1 days;
        _expectStillOpen(requester, 0);
        vm.expectEmit(address(vault));
        emit IVault.BudgetClosed(requester, scheduler, uint48(closesAt));
        vm.prank(requester);
        vault.close(scheduler);
        vm.warp(closesAt - 1);
        _expectStillOpen(requester, uint48(closesAt));
        vm.warp(closesAt);
        vm.expectEmit(address(vault));
        emit IVault.BudgetReclaimed(requester, scheduler, uint64(BUDGET));
        vm.prank(requester);
        vault.reclaim(scheduler);
        assertEq(_budget(0), 0, "empty");
        assertEq(_free(requester), BUDGET + 1000e6, "and free");
        _expectStillOpen(requester, 0);
    }

    function test_fund_reopens() public {
        vm.prank(_requester(0));
        vault.close(scheduler);
        vm.prank(_requester(0));
        vault.fund(scheduler, 0);
        vm.warp(vm.getBlockTimestamp() + 2 days);
        _expectStillOpen(_requester(0), 0);
    }

    function test_close_twice() public {
        vm.prank(_requester(0));
        vault.close(scheduler);
        vm.prank(_requester(0));
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_BudgetNotOpen.selector, _requester(0), scheduler));
        vault.close(scheduler);
    }

    function test_budgetPaysUntil() public {
        uint256 closesAt = vm.getBlockTimestamp() + 1 days;
        assertEq(vault.budgetPaysUntil(_requester(0), scheduler), closesAt, "a notice from now while open");
        vm.prank(_requester(0));
        vault.close(scheduler);
        vm.warp(closesAt - 1 hours);
        assertEq(vault.budgetPaysUntil(_requester(0), scheduler), closesAt, "to the end of the notice");
    }

    /// @dev The requester closes in the second after its order was accepted with the longest expiry there is.
    function test_close_outlivesOrders() public {
        Order memory order = _order(0, 1);
        order.expiry = uint64(vm.getBlockTimestamp() + market.HORIZON());
        vm.prank(_requester(0));
        vault.close(scheduler);
        providers.keepSeed(CLASS, seedBlock);
        vm.warp(order.expiry);
        _expectStillOpen(_requester(0), vault.budget(_requester(0), scheduler).closesAt);
        _assertSettles(_seal(_draft(order)));
    }

    function test_post_notMarket() public {
        vm.prank(address(providers));
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_NotMarket.selector, address(providers)));
        vault.post(0, 0, new uint256[](0));
    }

    function test_bond_notProviders() public {
        vm.prank(address(market));
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_NotProviders.selector, address(market)));
        vault.bond(_operator(0), 1);
        vm.prank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_NotProviders.selector, _operator(0)));
        vault.release(_operator(0), 1);
    }

    function _vaultOf(IERC20 token) private returns (Vault) {
        return new Vault(token, TREASURY, address(1), address(2), new address[](0));
    }

    function _nester(Nested what) private returns (Nester nester, Vault other) {
        HookedToken token = new HookedToken();
        other = _vaultOf(token);
        nester = new Nester(other, token, what);
        token.mint(address(nester), 5e6);
    }

    function _permit(uint256 value) private view returns (uint8 v, bytes32 r, bytes32 s) {
        address owner = vm.addr(OWNER_KEY);
        bytes32 permit = keccak256(
            abi.encode(PERMIT_TYPEHASH, owner, address(vault), value, usd.nonces(owner), type(uint256).max)
        );
        bytes32 separator = usd.DOMAIN_SEPARATOR();
        return vm.sign(OWNER_KEY, keccak256(abi.encodePacked(hex"1901", separator, permit)));
    }

    function _expectInsufficient(address who, uint64 amount) private {
        uint64 free = uint64(_free(who));
        vm.prank(who);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_InsufficientFree.selector, who, free, amount));
        vault.withdraw(who, amount);
    }

    function _expectStillOpen(address requester, uint48 closesAt) private {
        vm.prank(requester);
        vm.expectRevert(
            abi.encodeWithSelector(IVault.Vault_BudgetStillOpen.selector, requester, scheduler, closesAt)
        );
        vault.reclaim(scheduler);
    }
}
