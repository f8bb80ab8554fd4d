// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// What a refused call leaves behind is checked after it, and why it was refused does not matter here.
/* solhint-disable no-empty-blocks */

import {Vault} from "../../src/Vault.sol";
import {Records} from "../../src/libraries/Records.sol";
import {Account} from "../../src/types/Accounts.sol";
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
/// @dev The test plays Market, Providers and a module itself. One party may be several: an operator that is also the
/// treasury, or the scheduler.
contract VaultSymbolic {
    ISvm private constant SVM = ISvm(0xF3993A62377BCd56AE39D773740A5390411E8BC9);
    address private constant TREASURY_ADDRESS = address(0x7EA5);
    address private constant REQUESTER = address(0xC1);
    uint256 private constant OPERATOR = 0;
    uint256 private constant SCHEDULER = 1;
    uint256 private constant TREASURY = 2;
    uint256 private constant PARTIES = 3;

    /// @dev All the money that a check can touch. What it must be afterwards is worked out beside the Vault and
    /// compared part by part: that says who is paid as well as that nothing is made or lost.
    struct State {
        uint256[PARTIES] free;
        uint256[PARTIES] bond;
        uint256[PARTIES] locked;
        uint256 budget;
        uint256 escrow;
    }

    /// @dev 1.1 trillion dollars in micro-USD.
    uint64 private constant MOST = 2 ** 60;

    Vault private _vault;

    function setUp() public {
        address[] memory modules = new address[](1);
        modules[0] = address(this);
        _vault = new Vault(new PlainToken(6), TREASURY_ADDRESS, address(this), address(this), modules);
        SVM.enableSymbolicStorage(address(_vault));
    }

    // --- nonces -------------------------------------------------------------------------------

    /// @dev Whoever settles it, on whichever road: once.
    function check_nonce_once(address requester, uint256 nonce, bool byModule) public {
        vm.assume(!_vault.nonceUsed(requester, nonce));
        if (byModule) _vault.reserve(requester, _party(SCHEDULER), nonce, 0);
        else assert(_spend(requester, nonce));
        assert(_vault.nonceUsed(requester, nonce));
        assert(!_spend(requester, nonce));
        try _vault.reserve(requester, _party(SCHEDULER), nonce, 0) {
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
        if (byModule) _vault.reserve(requester, _party(SCHEDULER), nonce, 0);
        else _spend(requester, nonce);
        assert(_vault.nonceUsed(other, another) == before);
    }

    /// @dev Posts a job that costs nothing; false where it is refused.
    function _spend(address requester, uint256 nonce) private returns (bool) {
        (uint256[] memory refusals,) = _vault.post(1, 0, _record(requester, nonce, 0, new Share[](0)));
        return refusals.length == 0;
    }

    // --- settlements --------------------------------------------------------------------------

    /// @dev A job is paid from its budget to the unit, or not at all, and no state of anybody's books makes it revert.
    /// One share, from any state: the next share meets a state like any other.
    function check_post_pays(uint64 fee, uint256 nonce, bool own, uint64 amount, bool effort) public {
        State memory state = _anyState();
        uint256 winner = own ? SCHEDULER : OPERATOR;
        bool done = !_vault.nonceUsed(REQUESTER, nonce) && uint256(fee) + amount <= state.budget;
        _post(fee, nonce, toShare(_party(winner), amount, effort ? ShareKind.Effort : ShareKind.Won));
        if (done) {
            state.budget -= uint256(fee) + amount;
            state.free[SCHEDULER] += fee;
            state.free[winner] += amount;
        }
        _assertState(state);
    }

    /// @dev A slash moves stake to the treasury, also the treasury's own, and takes nothing that is locked.
    function check_post_slashes(uint256 nonce, bool treasury, uint64 amount) public {
        State memory state = _anyState();
        bool done = !_vault.nonceUsed(REQUESTER, nonce);
        uint256 liar = treasury ? TREASURY : OPERATOR;
        _post(0, nonce, toShare(_party(liar), amount, ShareKind.Slashed));
        if (done) _slash(state, liar, amount);
        _assertState(state);
    }

    /// @dev A module's judgement lets stake go and pays from its own escrow; it reverts only for what the module
    /// itself did wrong.
    function check_distribute_pays(uint64 amount, uint64 unlocked, bool effort) public {
        State memory state = _anyState();
        bool right = state.locked[OPERATOR] >= unlocked && state.escrow >= amount;
        Share share = toShare(_party(OPERATOR), amount, effort ? ShareKind.Effort : ShareKind.Won);
        assert(_distribute(share, unlocked) == right);
        if (right) {
            state.locked[OPERATOR] -= unlocked;
            state.escrow -= amount;
            state.free[OPERATOR] += amount;
        }
        _assertState(state);
    }

    function check_distribute_slashes(bool treasury, uint64 amount, uint64 unlocked) public {
        State memory state = _anyState();
        uint256 liar = treasury ? TREASURY : OPERATOR;
        bool right = state.locked[liar] >= unlocked;
        assert(_distribute(toShare(_party(liar), amount, ShareKind.Slashed), unlocked) == right);
        if (right) {
            state.locked[liar] -= unlocked;
            _slash(state, liar, amount);
        }
        _assertState(state);
    }

    // --- single moves -------------------------------------------------------------------------

    function check_reserve(uint256 nonce, uint64 amount) public {
        State memory state = _anyState();
        bool right = !_vault.nonceUsed(REQUESTER, nonce) && amount <= state.budget;
        bool done = true;
        try _vault.reserve(REQUESTER, _party(SCHEDULER), nonce, amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) {
            state.budget -= amount;
            state.escrow += amount;
        }
        _assertState(state);
    }

    function check_collect(uint64 amount) public {
        State memory state = _anyState();
        bool right = amount <= state.free[OPERATOR];
        bool done = true;
        try _vault.collect(_party(OPERATOR), amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) {
            state.free[OPERATOR] -= amount;
            state.escrow += amount;
        }
        _assertState(state);
    }

    function check_pay(uint64 amount) public {
        State memory state = _anyState();
        bool right = amount <= state.escrow;
        bool done = true;
        try _vault.pay(_party(OPERATOR), amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) {
            state.escrow -= amount;
            state.free[OPERATOR] += amount;
        }
        _assertState(state);
    }

    function check_refund(uint64 amount) public {
        State memory state = _anyState();
        bool right = amount <= state.escrow;
        bool done = true;
        try _vault.refund(REQUESTER, _party(SCHEDULER), amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) {
            state.escrow -= amount;
            state.budget += amount;
        }
        _assertState(state);
    }

    function check_bond(uint64 amount) public {
        State memory state = _anyState();
        bool right = amount <= state.free[OPERATOR];
        bool done = true;
        try _vault.bond(_party(OPERATOR), amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) {
            state.free[OPERATOR] -= amount;
            state.bond[OPERATOR] += amount;
        }
        _assertState(state);
    }

    /// @dev Stake is locked once.
    function check_lock(uint64 amount) public {
        State memory state = _anyState();
        bool right = amount <= state.bond[OPERATOR] - state.locked[OPERATOR];
        bool done = true;
        try _vault.lock(_party(OPERATOR), amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) state.locked[OPERATOR] += amount;
        _assertState(state);
    }

    /// @dev Stake leaves only when nothing holds it.
    function check_release(uint64 amount) public {
        State memory state = _anyState();
        bool right = amount <= state.bond[OPERATOR] - state.locked[OPERATOR];
        bool done = true;
        try _vault.release(_party(OPERATOR), amount) {}
        catch {
            done = false;
        }
        assert(done == right);
        if (right) {
            state.bond[OPERATOR] -= amount;
            state.free[OPERATOR] += amount;
        }
        _assertState(state);
    }

    // --- internals ----------------------------------------------------------------------------

    /// @dev Any books as they can be: what is locked is stake, and no part is above `MOST`, which 64 bits of total
    /// leave room for.
    function _anyState() private view returns (State memory state) {
        state = _state();
        for (uint256 i = 0; i < PARTIES; ++i) {
            vm.assume(state.free[i] <= MOST && state.bond[i] <= MOST && state.locked[i] <= state.bond[i]);
        }
        vm.assume(state.budget <= MOST && state.escrow <= MOST);
    }

    function _state() private view returns (State memory state) {
        for (uint256 i = 0; i < PARTIES; ++i) {
            Account memory books = _vault.account(_party(i));
            (state.free[i], state.bond[i], state.locked[i]) = (books.free, books.bond, books.locked);
        }
        state.budget = _vault.budget(REQUESTER, _party(SCHEDULER)).amount;
        state.escrow = _vault.escrow(address(this));
    }

    function _assertState(State memory expected) private view {
        State memory state = _state();
        for (uint256 i = 0; i < PARTIES; ++i) {
            assert(state.free[i] == expected.free[i]);
            assert(state.bond[i] == expected.bond[i]);
            assert(state.locked[i] == expected.locked[i]);
        }
        assert(state.budget == expected.budget);
        assert(state.escrow == expected.escrow);
    }

    function _slash(State memory state, uint256 liar, uint64 amount) private pure {
        uint256 available = state.bond[liar] - state.locked[liar];
        uint256 taken = amount < available ? amount : available;
        state.bond[liar] -= taken;
        state.free[TREASURY] += taken;
    }

    function _post(uint64 fee, uint256 nonce, Share share) private {
        Share[] memory shares = new Share[](1);
        shares[0] = share;
        try _vault.post(1, 1, _record(REQUESTER, nonce, fee, shares)) {}
        catch {
            assert(false);
        }
    }

    /// @dev As `Records` lays it out; all shares are of the operator at place zero.
    function _record(address requester, uint256 nonce, uint64 fee, Share[] memory shares)
        private
        pure
        returns (uint256[] memory record)
    {
        record = new uint256[](Records.HEAD_WORDS + shares.length + 1);
        record[Records.REQUESTER / 32] = uint160(requester);
        record[Records.NONCE / 32] = nonce;
        record[Records.COUNT / 32] = shares.length + 1;
        for (uint256 i = 0; i < shares.length; ++i) {
            record[Records.HEAD_WORDS + i] = Share.unwrap(shares[i]);
        }
        record[record.length - 1] = Share.unwrap(toShare(_party(SCHEDULER), fee, ShareKind.Fee));
    }

    function _distribute(Share share, uint64 unlocked) private returns (bool) {
        Share[] memory shares = new Share[](1);
        shares[0] = share;
        try _vault.distribute(shares, unlocked) {
            return true;
        } catch {
            return false;
        }
    }

    function _party(uint256 i) private pure returns (address) {
        if (i == OPERATOR) return address(0x09);
        return i == SCHEDULER ? address(0x5C) : TREASURY_ADDRESS;
    }
}
