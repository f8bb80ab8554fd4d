// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IVault} from "./interfaces/IVault.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Raw} from "./libraries/Raw.sol";
import {Records} from "./libraries/Records.sol";
import {Words, newWords} from "./libraries/Words.sol";
import {Account, Budget} from "./types/Accounts.sol";
import {Share, ShareKind} from "./types/Share.sol";
import {EFFORT_ONE, FAULT_ONE, Refusal, SLASHED_SHIFT, Sums, WIN_ONE} from "./types/Sums.sol";

/// @notice Keeps the books; see IVault.
contract Vault is IVault, ReentrancyGuardTransient {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /// @dev What a batch has done so far, none of it in storage yet but the pages that were left.
    struct Book {
        /// The page: one requester's budget for one scheduler, and one word of its nonces.
        uint256 requester;
        uint256 scheduler;
        uint256 nonceWord;
        uint256 nonces;
        uint256 amount;
        bool written;
        /// Of the page's scheduler, and of those before: shares.
        uint256 fees;
        Words feesBefore;
        /// Where the lines are in memory, and how many operators have one: the operator, and its Sums.
        uint256 lines;
        uint256 operators;
        uint256 slashed;
        Words slashes;
        Words refusals;
    }

    /// @notice Seconds that a closed budget still pays for.
    uint256 public constant NOTICE = Parameters.NOTICE;

    uint8 private constant LEDGER_DECIMALS = 6;
    uint256 private constant LINE_BYTES = 64;

    IERC20 private immutable TOKEN;
    /// @dev Token units in one micro-USD.
    uint256 private immutable SCALE;
    address private immutable TREASURY;
    address private immutable PROVIDERS;
    address private immutable MARKET;

    mapping(address who => Account) private _accounts;
    mapping(address requester => mapping(address scheduler => Budget)) private _budgets;
    mapping(address requester => mapping(uint256 word => uint256 bits)) private _nonces;

    /// @inheritdoc IVault
    mapping(address module => bool) public isModule;
    /// @inheritdoc IVault
    /// @dev One for each module: a mistake in one cannot spend what another holds.
    mapping(address module => uint64) public escrow;

    /// @inheritdoc IVault
    /// @dev Settlements keep it as it is, so no balance can outgrow 64 bits and no credit can ever fail.
    uint64 public total;

    modifier onlyMarket() {
        _requireMarket();
        _;
    }

    modifier onlyProviders() {
        _requireProviders();
        _;
    }

    modifier onlyModule() {
        _requireModule();
        _;
    }

    constructor(
        IERC20 token_,
        address treasury_,
        address providers_,
        address market_,
        address[] memory modules
    ) {
        uint8 decimals = IERC20Metadata(address(token_)).decimals();
        if (decimals < LEDGER_DECIMALS) revert Vault_TooFewDecimals(decimals);
        TOKEN = token_;
        SCALE = 10 ** (decimals - LEDGER_DECIMALS);
        TREASURY = treasury_;
        PROVIDERS = providers_;
        MARKET = market_;
        for (uint256 i = 0; i < modules.length; ++i) {
            isModule[modules[i]] = true;
        }
    }

    // --- money in and out ---------------------------------------------------------------------

    /// @inheritdoc IVault
    function deposit(address to, uint64 amount) external nonReentrant {
        _deposit(to, amount);
    }

    /// @inheritdoc IVault
    function depositWithPermit(address to, uint64 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        IERC20Permit permitted = IERC20Permit(address(TOKEN));
        // Where it fails the allowance decides: a front-run permit has set it all the same.
        // solhint-disable-next-line no-empty-blocks
        try permitted.permit(msg.sender, address(this), amount * SCALE, deadline, v, r, s) {} catch {}
        _deposit(to, amount);
    }

    /// @inheritdoc IVault
    function withdraw(address to, uint64 amount) external nonReentrant {
        _debit(msg.sender, amount);
        total -= amount;
        emit Withdrawn(msg.sender, to, amount);
        TOKEN.safeTransfer(to, amount * SCALE);
    }

    // --- budgets ------------------------------------------------------------------------------

    /// @inheritdoc IVault
    function fund(address scheduler, uint64 amount) external {
        _debit(msg.sender, amount);
        Budget storage budget_ = _budgets[msg.sender][scheduler];
        budget_.amount += amount;
        budget_.closesAt = 0;
        emit BudgetFunded(msg.sender, scheduler, amount);
    }

    /// @inheritdoc IVault
    function close(address scheduler) external {
        Budget storage budget_ = _budgets[msg.sender][scheduler];
        if (budget_.closesAt != 0) revert Vault_BudgetNotOpen(msg.sender, scheduler);
        uint48 closesAt = (block.timestamp + NOTICE).toUint48();
        budget_.closesAt = closesAt;
        emit BudgetClosed(msg.sender, scheduler, closesAt);
    }

    /// @inheritdoc IVault
    function reclaim(address scheduler) external {
        Budget memory budget_ = _budgets[msg.sender][scheduler];
        if (budget_.closesAt == 0 || block.timestamp < budget_.closesAt) {
            revert Vault_BudgetStillOpen(msg.sender, scheduler, budget_.closesAt);
        }
        delete _budgets[msg.sender][scheduler];
        _accounts[msg.sender].free += budget_.amount;
        emit BudgetReclaimed(msg.sender, scheduler, budget_.amount);
    }

    // --- settlement ---------------------------------------------------------------------------

    /// @inheritdoc IVault
    /// @dev Adds up in memory what each operator gets and loses, and keeps the budget and the nonce word that it is at
    /// in memory too. Every account is written after that: a scheduler may be an operator as well.
    function post(uint256 jobs, uint256 operators, uint256[] calldata records)
        external
        onlyMarket
        returns (uint256[] memory refusals, uint256[] memory slashes)
    {
        Book memory book = _openBook(jobs, operators, records.length);
        uint256 record;
        assembly ("memory-safe") {
            record := records.offset
        }
        for (uint256 job = 0; job < jobs; ++job) {
            uint256 end = Records.endOf(record, Raw.given(record + Records.COUNT));
            uint256 nonce = Raw.given(record + Records.NONCE);
            _turnTo(book, Raw.given(record + Records.REQUESTER), _lastShare(end), nonce >> 8);
            uint256 bit = _bit(nonce);
            uint256 cost = Records.costOf(record, end);
            if (book.nonces & bit != 0) {
                book.refusals.push(job << 8 | uint256(Refusal.NonceSpent));
            } else if (book.amount < cost) {
                book.refusals.push(job << 8 | uint256(Refusal.BudgetTooSmall));
            } else {
                book.nonces |= bit;
                book.amount -= cost;
                book.written = true;
                _enter(book, record, end);
            }
            record = end;
        }
        _leavePage(book);
        _writeAccounts(book);
        return (book.refusals.take(), book.slashes.take());
    }

    // --- modules ------------------------------------------------------------------------------

    /// @inheritdoc IVault
    function reserve(address requester, address scheduler, uint256 nonce, uint64 amount) external onlyModule {
        mapping(uint256 => uint256) storage words = _nonces[requester];
        uint256 word = words[nonce >> 8];
        uint256 bit = _bit(nonce);
        if (word & bit != 0) revert Vault_NonceSpent(requester, nonce);
        Budget storage budget_ = _budgets[requester][scheduler];
        uint64 there = budget_.amount;
        if (there < amount) revert Vault_BudgetTooSmall(requester, scheduler, there, amount);
        words[nonce >> 8] = word | bit;
        budget_.amount = there - amount;
        escrow[msg.sender] += amount;
    }

    /// @inheritdoc IVault
    function refund(address requester, address scheduler, uint64 amount) external onlyModule {
        escrow[msg.sender] -= amount;
        _budgets[requester][scheduler].amount += amount;
    }

    /// @inheritdoc IVault
    function collect(address from, uint64 amount) external onlyModule {
        _debit(from, amount);
        escrow[msg.sender] += amount;
    }

    /// @inheritdoc IVault
    function pay(address to, uint64 amount) external onlyModule {
        escrow[msg.sender] -= amount;
        _accounts[to].free += amount;
    }

    /// @inheritdoc IVault
    function lock(address operator, uint64 amount) external onlyModule {
        Account memory books = _accounts[operator];
        uint64 available = books.bond - books.locked;
        if (available < amount) revert Vault_StakeLocked(operator, available, amount);
        _accounts[operator].locked = books.locked + amount;
    }

    /// @inheritdoc IVault
    function distribute(Share[] calldata shares, uint64 unlocked)
        external
        onlyModule
        returns (uint64[] memory moved)
    {
        moved = new uint64[](shares.length);
        uint64 slashed = 0;
        uint64 paid = 0;
        for (uint256 i = 0; i < shares.length; ++i) {
            _accounts[shares[i].operatorOf()].locked -= unlocked;
            (moved[i], slashed) = _apply(shares[i], slashed);
            if (shares[i].kindOf() != ShareKind.Slashed) paid += moved[i];
        }
        escrow[msg.sender] -= paid;
        if (slashed != 0) _accounts[TREASURY].free += slashed;
    }

    // --- stake --------------------------------------------------------------------------------

    /// @inheritdoc IVault
    function bond(address operator, uint64 amount) external onlyProviders {
        _debit(operator, amount);
        _accounts[operator].bond += amount;
        emit StakeBonded(operator, amount);
    }

    /// @inheritdoc IVault
    function release(address operator, uint64 amount) external onlyProviders {
        Account memory books = _accounts[operator];
        uint64 available = books.bond - books.locked;
        if (available < amount) revert Vault_StakeLocked(operator, available, amount);
        books.bond -= amount;
        books.free += amount;
        _accounts[operator] = books;
        emit StakeReleased(operator, amount);
    }

    // --- views --------------------------------------------------------------------------------

    /// @inheritdoc IVault
    function account(address who) external view returns (Account memory) {
        return _accounts[who];
    }

    /// @inheritdoc IVault
    function budget(address requester, address scheduler) external view returns (Budget memory) {
        return _budgets[requester][scheduler];
    }

    /// @inheritdoc IVault
    function budgetPaysUntil(address requester, address scheduler) external view returns (uint256) {
        uint256 closesAt = _budgets[requester][scheduler].closesAt;
        return closesAt == 0 ? block.timestamp + NOTICE : closesAt;
    }

    /// @inheritdoc IVault
    function nonceUsed(address requester, uint256 nonce) external view returns (bool) {
        return _nonces[requester][nonce >> 8] & _bit(nonce) != 0;
    }

    /// @inheritdoc IVault
    function token() external view returns (IERC20) {
        return TOKEN;
    }

    /// @inheritdoc IVault
    function treasury() external view returns (address) {
        return TREASURY;
    }

    /// @inheritdoc IVault
    function providers() external view returns (address) {
        return PROVIDERS;
    }

    /// @inheritdoc IVault
    function market() external view returns (address) {
        return MARKET;
    }

    // --- internals ----------------------------------------------------------------------------

    /// @dev Guarded by its callers: measuring what came in would count a nested deposit twice.
    function _deposit(address to, uint64 amount) private {
        uint256 before = TOKEN.balanceOf(address(this));
        TOKEN.safeTransferFrom(msg.sender, address(this), amount * SCALE);
        uint256 arrived = (TOKEN.balanceOf(address(this)) - before) / SCALE;
        uint256 newTotal = total + arrived;
        if (newTotal > type(uint64).max) revert Vault_Full(newTotal);
        total = newTotal.toUint64();
        _accounts[to].free += arrived.toUint64();
        emit Deposited(msg.sender, to, arrived.toUint64());
    }

    function _debit(address who, uint64 amount) private {
        uint64 free = _accounts[who].free;
        if (free < amount) revert Vault_InsufficientFree(who, free, amount);
        _accounts[who].free = free - amount;
    }

    function _openBook(uint256 jobs, uint256 operators, uint256 words)
        private
        pure
        returns (Book memory book)
    {
        book.feesBefore = newWords(jobs);
        book.refusals = newWords(jobs);
        book.slashes = newWords(words);
        book.operators = operators;
        uint256[] memory zeros = new uint256[](operators * LINE_BYTES / Raw.WORD);
        assembly ("memory-safe") {
            mstore(add(book, 0x100), add(zeros, 0x20)) // lines
        }
    }

    /// @dev Opens the page that a record is about.
    function _turnTo(Book memory book, uint256 requester, uint256 lastShare, uint256 nonceWord) private {
        uint256 scheduler = Records.partyOf(lastShare);
        // No requester is zero, so the first record opens a page.
        if (book.requester == requester && book.scheduler == scheduler && book.nonceWord == nonceWord) {
            return;
        }
        _leavePage(book);
        if (book.scheduler != scheduler) _endFees(book);
        (book.requester, book.scheduler, book.nonceWord) = (requester, scheduler, nonceWord);
        book.nonces = _nonces[_party(requester)][nonceWord];
        book.amount = _budgets[_party(requester)][_party(scheduler)].amount;
    }

    function _leavePage(Book memory book) private {
        if (!book.written) return;
        _nonces[_party(book.requester)][book.nonceWord] = book.nonces;
        // It only became smaller.
        // forge-lint: disable-next-line(unsafe-typecast)
        _budgets[_party(book.requester)][_party(book.scheduler)].amount = uint64(book.amount);
        book.written = false;
    }

    function _endFees(Book memory book) private pure {
        if (book.fees == 0) return;
        book.feesBefore.push(Records.toWord(book.scheduler, book.fees, Records.FEE));
        book.fees = 0;
    }

    function _lastShare(uint256 end) private pure returns (uint256) {
        unchecked {
            return Raw.given(end - Raw.WORD);
        }
    }

    /// @dev Adds a job's shares to the lines. No sum of payments outgrows 64 bits: they came out of budgets.
    function _enter(Book memory book, uint256 record, uint256 end) private view {
        bool slashing = Records.addUp(record, end, book.lines, book.operators);
        book.fees += Records.amountOf(_lastShare(end));
        if (!slashing) return;
        for (uint256 cursor = record + Records.SHARES; cursor != end; cursor += Raw.WORD) {
            uint256 share = Raw.given(cursor);
            if (Records.kindOf(share) == Records.SLASHED) _slash(book, share);
        }
    }

    /// @dev A slash ends at what earlier ones of the batch left of the stake; what is locked answers for something
    /// else.
    function _slash(Book memory book, uint256 share) private view {
        uint256 place = Records.placeOf(share);
        assert(place < book.operators); // Market counts its operators
        uint256 line = book.lines + place * LINE_BYTES;
        uint256 sums = Raw.load(line + Raw.WORD);
        Account memory books = _accounts[_party(Records.partyOf(share))];
        uint256 available = books.bond - books.locked - Sums.wrap(sums).slashedOf();
        uint256 amount = Records.amountOf(share);
        if (amount > available) amount = available;
        Raw.store(line, Records.partyOf(share));
        Raw.store(line + Raw.WORD, sums + (amount << SLASHED_SHIFT) + FAULT_ONE);
        book.slashes.push(amount);
        book.slashed += amount;
    }

    function _writeAccounts(Book memory book) private {
        uint256 end = book.lines + book.operators * LINE_BYTES;
        for (uint256 line = book.lines; line != end; line += LINE_BYTES) {
            Sums sums = Sums.wrap(Raw.load(line + Raw.WORD));
            if (Sums.unwrap(sums) == 0) continue;
            address operator = _party(Raw.load(line));
            Account memory books = _accounts[operator];
            books.free += sums.paidOf();
            books.bond -= sums.slashedOf();
            books.wins = _addUp(books.wins, sums.winsOf());
            books.faults = _addUp(books.faults, sums.faultsOf());
            _accounts[operator] = books;
            emit OperatorSettled(operator, sums);
        }
        _endFees(book);
        for (uint256 i = 0; i < book.feesBefore.count(); ++i) {
            uint256 share = book.feesBefore.get(i);
            _accounts[_party(share)].free += Records.amountOf(share).toUint64();
        }
        if (book.slashed != 0) _accounts[TREASURY].free += book.slashed.toUint64();
    }

    function _party(uint256 word) private pure returns (address) {
        // Its low 160 bits are the party.
        // forge-lint: disable-next-line(unsafe-typecast)
        return address(uint160(word));
    }

    /// @dev One more in the counter that goes with a payment.
    function _counted(ShareKind kind) private pure returns (uint256) {
        if (kind == ShareKind.Won) return WIN_ONE;
        return kind == ShareKind.Effort ? EFFORT_ONE : 0;
    }

    /// @dev Counters stay at their largest value rather than wrap.
    function _addUp(uint32 counter, uint32 more) private pure returns (uint32) {
        return more > type(uint32).max - counter ? type(uint32).max : counter + more;
    }

    /// @dev Pays or slashes one operator. What is slashed is summed for one credit to the treasury a batch.
    function _apply(Share share, uint64 slashed) private returns (uint64 amount, uint64 slashedNow) {
        address operator = share.operatorOf();
        ShareKind kind = share.kindOf();
        Account memory books = _accounts[operator];
        amount = share.amountOf();
        Sums sums;
        if (kind == ShareKind.Slashed) {
            uint64 available = books.bond - books.locked; // what is locked answers for something else
            if (amount > available) amount = available;
            books.bond -= amount;
            slashed += amount;
            books.faults = _addUp(books.faults, 1);
            sums = Sums.wrap((uint256(amount) << SLASHED_SHIFT) + FAULT_ONE);
        } else {
            books.free += amount;
            if (kind == ShareKind.Won) books.wins = _addUp(books.wins, 1);
            if (kind == ShareKind.Returned && books.faults != 0) --books.faults;
            sums = Sums.wrap(amount + _counted(kind));
        }
        _accounts[operator] = books;
        // Effort of nothing only lets go of what was locked.
        if (amount != 0 || kind != ShareKind.Effort) emit OperatorSettled(operator, sums);
        return (amount, slashed);
    }

    function _bit(uint256 nonce) private pure returns (uint256) {
        return uint256(1) << (nonce & 0xff);
    }

    function _requireMarket() private view {
        if (msg.sender != MARKET) revert Vault_NotMarket(msg.sender);
    }

    function _requireModule() private view {
        if (!isModule[msg.sender]) revert Vault_NotModule(msg.sender);
    }

    function _requireProviders() private view {
        if (msg.sender != PROVIDERS) revert Vault_NotProviders(msg.sender);
    }
}
