// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vault} from "../../src/Vault.sol";
import {Account, Posting, PostingResult} from "../../src/types/Accounts.sol";
import {Share, ShareKind, toShare} from "../../src/types/Share.sol";
import {PlainToken} from "../utils/Tokens.sol";
import {vm} from "../utils/Vm.sol";

/// @notice halmos' own cheatcodes.
/// @dev Source: https://github.com/a16z/halmos-cheatcodes
interface ISvm {
    /// @notice Makes every slot of `account` hold anything.
    function enableSymbolicStorage(address account) external;
}

/// @notice The Vault's books from any state they can be in, for all amounts; run by halmos (`make prove`).
/// @dev The test plays Market, Providers and a module itself. Parties are few and fixed, and a symbolic choice among
/// them lets one be several at once: an operator that is also the treasury, a scheduler that is also an operator.
contract VaultSymbolic {
    ISvm private constant SVM = ISvm(0xF3993A62377BCd56AE39D773740A5390411E8BC9);
    address private constant TREASURY = address(0x7EA5);
    address private constant REQUESTER = address(0xC1);
    address private constant SCHEDULER = address(0x5C);
    address private constant OPERATOR = address(0x09);

    Vault private _vault;

    function setUp() public {
        address[] memory modules = new address[](1);
        modules[0] = address(this);
        _vault = new Vault(new PlainToken(6), TREASURY, address(this), address(this), modules);
        SVM.enableSymbolicStorage(address(_vault));
    }

    // --- nonces -------------------------------------------------------------------------------

    /// @dev Whoever settles it, on whichever road: once.
    function check_nonce_once(address requester, uint256 nonce, bool byModule) public {
        vm.assume(!_vault.nonceUsed(requester, nonce));
        if (byModule) _vault.reserve(requester, SCHEDULER, nonce, 0);
        else assert(_post(requester, nonce) == PostingResult.Done);
        assert(_vault.nonceUsed(requester, nonce));
        assert(_post(requester, nonce) == PostingResult.NonceSpent);
        try _vault.reserve(requester, SCHEDULER, nonce, 0) {
            assert(false);
        } catch {}
    }

    /// @dev Spending one changes no other, of nobody.
    function check_nonce_ofNobodyElse(
        address requester,
        uint256 nonce,
        address other,
        uint256 another,
        bool byModule
    ) public {
        vm.assume(requester != other || nonce != another);
        bool before = _vault.nonceUsed(other, another);
        if (byModule) _vault.reserve(requester, SCHEDULER, nonce, 0);
        else _post(requester, nonce);
        assert(_vault.nonceUsed(other, another) == before);
    }

    function _post(address requester, uint256 nonce) private returns (PostingResult) {
        Posting[] memory postings = new Posting[](1);
        postings[0] = Posting({requester: requester, fee: 0, shares: 0, scheduler: SCHEDULER, nonce: nonce});
        (PostingResult[] memory results,) = _vault.post(postings, new Share[](0));
        return results[0];
    }

    // --- settlements --------------------------------------------------------------------------

    /// @dev Paying conserves money, and no state of anybody's books makes it revert. One share, from any state: the
    /// next share meets a state like any other.
    function check_post_pays(uint64 fee, uint256 nonce, bool own, uint64 amount) public {
        Share share = toShare(own ? SCHEDULER : OPERATOR, amount, ShareKind.Won);
        _checkPost(fee, nonce, share);
    }

    function check_post_paysEffort(uint256 nonce, uint64 amount) public {
        _checkPost(0, nonce, toShare(OPERATOR, amount, ShareKind.Effort));
    }

    /// @dev Slashing conserves money, also when the treasury is an operator, and takes nothing that is locked.
    function check_post_slashes(uint64 fee, uint256 nonce, bool treasury, uint64 amount) public {
        Share share = toShare(treasury ? TREASURY : OPERATOR, amount, ShareKind.Slashed);
        _checkPost(fee, nonce, share);
    }

    function _checkPost(uint64 fee, uint256 nonce, Share share) private {
        uint256 sum = _assumedSum();
        Account memory before = _assumedStake(share.operatorOf());
        Posting[] memory postings = new Posting[](1);
        postings[0] = Posting({requester: REQUESTER, fee: fee, shares: 1, scheduler: SCHEDULER, nonce: nonce});
        try _vault.post(postings, _one(share)) returns (PostingResult[] memory, uint64[] memory) {
            assert(_sum() == sum);
            Account memory books = _vault.account(share.operatorOf());
            assert(books.locked == before.locked && books.locked <= books.bond);
        } catch {
            assert(false);
        }
    }

    /// @dev A module's judgement conserves money; it reverts only for what the module itself did wrong.
    function check_distribute_pays(bool effort, uint64 amount, uint64 unlocked) public {
        bool covered = _vault.escrow(address(this)) >= amount;
        ShareKind kind = effort ? ShareKind.Effort : ShareKind.Won;
        _checkDistribute(toShare(OPERATOR, amount, kind), unlocked, covered);
    }

    function check_distribute_slashes(bool treasury, uint64 amount, uint64 unlocked) public {
        _checkDistribute(
            toShare(treasury ? TREASURY : OPERATOR, amount, ShareKind.Slashed), unlocked, true
        );
    }

    function _checkDistribute(Share share, uint64 unlocked, bool covered) private {
        uint256 sum = _assumedSum();
        Account memory before = _assumedStake(share.operatorOf());
        bool held = before.locked >= unlocked;
        try _vault.distribute(_one(share), unlocked) {
            assert(held && covered);
            assert(_sum() == sum);
            Account memory books = _vault.account(share.operatorOf());
            assert(books.locked == before.locked - unlocked && books.locked <= books.bond);
        } catch {
            assert(!held || !covered);
        }
    }

    // --- single moves -------------------------------------------------------------------------

    function check_reserve(uint256 nonce, uint64 amount) public {
        uint256 sum = _assumedSum();
        uint256 there = _vault.budget(REQUESTER, SCHEDULER).amount;
        bool spent = _vault.nonceUsed(REQUESTER, nonce);
        try _vault.reserve(REQUESTER, SCHEDULER, nonce, amount) {
            assert(!spent && amount <= there);
            assert(_vault.budget(REQUESTER, SCHEDULER).amount == there - amount);
            assert(_sum() == sum);
        } catch {
            assert(spent || amount > there);
        }
    }

    function check_escrow(uint64 amount, uint8 move) public {
        uint256 sum = _assumedSum();
        uint256 there = move == 0 ? _vault.account(OPERATOR).free : _vault.escrow(address(this));
        bool done = true;
        if (move == 0) {
            try _vault.collect(OPERATOR, amount) {}
            catch {
                done = false;
            }
        } else if (move == 1) {
            try _vault.pay(OPERATOR, amount) {}
            catch {
                done = false;
            }
        } else {
            try _vault.refund(REQUESTER, SCHEDULER, amount) {}
            catch {
                done = false;
            }
        }
        assert(done == (amount <= there));
        assert(_sum() == sum);
    }

    /// @dev Stake is locked once and leaves only when nothing holds it.
    function check_stake(uint64 amount, uint8 move) public {
        uint256 sum = _assumedSum();
        Account memory books = _assumedStake(OPERATOR);
        uint256 there = move == 0 ? books.free : books.bond - books.locked;
        bool done = true;
        if (move == 0) {
            try _vault.bond(OPERATOR, amount) {}
            catch {
                done = false;
            }
        } else if (move == 1) {
            try _vault.lock(OPERATOR, amount) {}
            catch {
                done = false;
            }
        } else {
            try _vault.release(OPERATOR, amount) {}
            catch {
                done = false;
            }
        }
        assert(done == (amount <= there));
        assert(_sum() == sum);
        books = _vault.account(OPERATOR);
        assert(books.locked <= books.bond);
    }

    // --- internals ----------------------------------------------------------------------------

    /// @dev The parties' money, assumed to be what it always is: no more than 64 bits in all.
    function _assumedSum() private view returns (uint256 sum) {
        sum = _sum();
        vm.assume(sum <= type(uint64).max);
    }

    /// @dev An operator's books, assumed to be as they always are: what is locked is stake.
    function _assumedStake(address operator) private view returns (Account memory books) {
        books = _vault.account(operator);
        vm.assume(books.locked <= books.bond);
    }

    function _sum() private view returns (uint256 sum) {
        unchecked {
            sum = _moneyOf(OPERATOR) + _moneyOf(SCHEDULER) + _moneyOf(TREASURY);
            sum += uint256(_vault.budget(REQUESTER, SCHEDULER).amount) + _vault.escrow(address(this));
        }
    }

    function _moneyOf(address party) private view returns (uint256) {
        Account memory books = _vault.account(party);
        unchecked {
            return uint256(books.free) + books.bond;
        }
    }

    function _one(Share share) private pure returns (Share[] memory shares) {
        shares = new Share[](1);
        shares[0] = share;
    }
}
