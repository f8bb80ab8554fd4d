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
        /// Where they are in storage.
        uint256 noncesSlot;
        uint256 budgetSlot;
        /// Not zero if nonces and amount are no longer what is in storage.
        uint256 written;
        /// Of the page's scheduler, and of those before: shares.
        uint256 fees;
        /// Where the lines are in memory, and how many operators have one: the operator, and its Sums.
        uint256 lines;
        uint256 operators;
        /// How many jobs were entered or refused.
        uint256 jobs;
        uint256 slashed;
        /// Made when they are needed, which is seldom.
        Words feesBefore;
        Words slashes;
        Words refusals;
    }

    // Where in memory these members of the book are: it is the first thing there.
    uint256 private constant BOOK_REQUESTER = 0x80;
    uint256 private constant BOOK_SCHEDULER = 0xa0;
    uint256 private constant BOOK_NONCE_WORD = 0xc0;
    uint256 private constant BOOK_NONCES = 0xe0;
    uint256 private constant BOOK_AMOUNT = 0x100;
    uint256 private constant BOOK_NONCES_SLOT = 0x120;
    uint256 private constant BOOK_BUDGET_SLOT = 0x140;
    uint256 private constant BOOK_WRITTEN = 0x160;
    uint256 private constant BOOK_FEES = 0x180;
    uint256 private constant BOOK_LINES = 0x1a0;
    uint256 private constant BOOK_OPERATORS = 0x1c0;
    uint256 private constant BOOK_JOBS = 0x1e0;

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
        Book memory book; // at BOOK_REQUESTER
        _open(book, operators);
        uint256 record;
        assembly ("memory-safe") {
            record := records.offset
        }
        uint256 last = record + records.length * Raw.WORD;
        while (true) {
            record = _enterPlain(record, last);
            if (record == last) break;
            if (!_turnTo(book, record, jobs)) record = _enterOne(book, record, jobs, records.length);
        }
        assert(book.jobs == jobs); // Market counts its jobs
        _leavePage(book);
        _writeAccounts(book);
        (refusals, slashes) = (_taken(book.refusals), _taken(book.slashes));
        if (refusals.length + slashes.length == 0) _returnNothing();
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

    function _open(Book memory book, uint256 operators) private pure {
        uint256 lines = Raw.allocate(operators * LINE_BYTES);
        uint256 position;
        assembly ("memory-safe") {
            position := book
            calldatacopy(lines, calldatasize(), mul(operators, LINE_BYTES)) // zeros
            mstore(BOOK_LINES, lines)
            mstore(BOOK_OPERATORS, operators)
        }
        assert(position == BOOK_REQUESTER);
    }

    /// @dev Enters the jobs that are on the open page, unspent, within its budget and without a slash, as nearly all
    /// are. In assembly: every share of a batch comes by here. Where it stops, `_enterOne` goes on.
    /// @return The record at which it stopped, or `end`.
    function _enterPlain(uint256 record, uint256 end) private pure returns (uint256) {
        assembly ("memory-safe") {
            for {} lt(record, end) {} {
                let last := add(add(record, 0xa0), shl(5, calldataload(add(record, 0xa0)))) // the fee
                let cost := calldataload(last)
                let bit := calldataload(add(record, 0x40)) // the nonce
                let other := xor(calldataload(add(record, 0x20)), mload(BOOK_REQUESTER))
                other := or(other, shl(96, xor(cost, mload(BOOK_SCHEDULER))))
                other := or(other, xor(shr(8, bit), mload(BOOK_NONCE_WORD)))
                bit := shl(and(bit, 0xff), 1)
                if or(other, and(bit, mload(BOOK_NONCES))) { break }

                // Each share goes to its operator's line, and is taken back if the job turns out not to be plain.
                let fee := and(shr(160, cost), 0xffffffffffffffff)
                cost := fee
                other := 0 // from here on all kinds
                for { let cursor := add(record, 0xc0) } lt(cursor, last) { cursor := add(cursor, 0x20) } {
                    let share := calldataload(cursor)
                    let line := shr(232, share) // the place
                    if iszero(lt(line, mload(BOOK_OPERATORS))) { invalid() } // Market counts them
                    line := add(mload(BOOK_LINES), shl(6, line))
                    mstore(line, share) // its low bits are the operator
                    line := add(line, 0x20)
                    let amount := and(shr(160, share), 0xffffffffffffffff)
                    cost := add(cost, amount)
                    other := or(other, share)
                    // The amount, and one: WIN_ONE is bit 128, EFFORT_ONE bit 160.
                    mstore(line, add(mload(line), or(amount, shl(add(128, shl(5, byte(3, share))), 1))))
                }
                // Of the kinds of a replica, only Slashed has bit 1.
                if or(gt(cost, mload(BOOK_AMOUNT)), and(other, shl(225, 1))) {
                    for { let cursor := add(record, 0xc0) } lt(cursor, last) { cursor := add(cursor, 0x20) } {
                        let share := calldataload(cursor)
                        let line := add(add(mload(BOOK_LINES), shl(6, shr(232, share))), 0x20)
                        let amount := and(shr(160, share), 0xffffffffffffffff)
                        mstore(line, sub(mload(line), or(amount, shl(add(128, shl(5, byte(3, share))), 1))))
                    }
                    break
                }
                mstore(BOOK_NONCES, or(mload(BOOK_NONCES), bit))
                mstore(BOOK_AMOUNT, sub(mload(BOOK_AMOUNT), cost))
                mstore(BOOK_FEES, add(mload(BOOK_FEES), fee))
                mstore(BOOK_JOBS, add(mload(BOOK_JOBS), 1))
                mstore(BOOK_WRITTEN, 1)
                record := add(last, 0x20)
            }
        }
        return record;
    }

    /// @dev Enters a job of the open page, or refuses it, whatever it is like.
    /// @return end Where the next one is.
    function _enterOne(Book memory book, uint256 record, uint256 jobs, uint256 words)
        private
        view
        returns (uint256 end)
    {
        end = Records.endOf(record, Raw.given(record + Records.COUNT));
        uint256 nonce = Raw.given(record + Records.NONCE);
        uint256 bit = _bit(nonce);
        uint256 cost = Records.costOf(record, end);
        if (book.nonces & bit != 0) {
            _refuse(book, Refusal.NonceSpent, jobs);
        } else if (book.amount < cost) {
            _refuse(book, Refusal.BudgetTooSmall, jobs);
        } else {
            book.nonces |= bit;
            book.amount -= cost;
            book.written = 1;
            _enter(book, record, end, words);
        }
        ++book.jobs;
    }

    function _refuse(Book memory book, Refusal refusal, uint256 jobs) private pure {
        if (Words.unwrap(book.refusals) == 0) book.refusals = newWords(jobs);
        book.refusals.push(book.jobs << 8 | uint256(refusal));
    }

    /// @dev Two empty lists as they are encoded: nearly always the answer of `post`.
    function _returnNothing() private pure {
        assembly ("memory-safe") {
            mstore(0x80, 0x40)
            mstore(0xa0, 0x60)
            mstore(0xc0, 0)
            mstore(0xe0, 0)
            return(0x80, 0x80)
        }
    }

    function _taken(Words words) private pure returns (uint256[] memory items) {
        if (Words.unwrap(words) != 0) items = words.take();
    }

    /// @dev Opens the page that a record is about; false if it is open.
    function _turnTo(Book memory book, uint256 record, uint256 jobs) private returns (bool) {
        uint256 requester = Raw.given(record + Records.REQUESTER);
        uint256 nonceWord = Raw.given(record + Records.NONCE) >> 8;
        uint256 fee = Raw.given(Records.endOf(record, Raw.given(record + Records.COUNT)) - Raw.WORD);
        uint256 scheduler = Records.partyOf(fee);
        // No requester is zero, so the first record opens a page.
        if (book.requester == requester && book.scheduler == scheduler && book.nonceWord == nonceWord) {
            return false;
        }
        _leavePage(book);
        if (book.scheduler != scheduler) _endFees(book, jobs);
        (book.requester, book.scheduler, book.nonceWord) = (requester, scheduler, nonceWord);
        mapping(uint256 => uint256) storage words = _nonces[_party(requester)];
        Budget storage budget_ = _budgets[_party(requester)][_party(scheduler)];
        book.amount = budget_.amount;
        assembly ("memory-safe") {
            mstore(0, nonceWord)
            mstore(0x20, words.slot)
            let slot := keccak256(0, 0x40) // words[nonceWord]
            mstore(BOOK_NONCES_SLOT, slot)
            mstore(BOOK_NONCES, sload(slot))
            mstore(BOOK_BUDGET_SLOT, budget_.slot)
        }
        return true;
    }

    function _leavePage(Book memory book) private {
        if (book.written == 0) return;
        assembly ("memory-safe") {
            sstore(mload(BOOK_NONCES_SLOT), mload(BOOK_NONCES))
            // The amount is the lowest 64 bits of its budget, and only became smaller.
            let slot := mload(BOOK_BUDGET_SLOT)
            sstore(slot, or(shl(64, shr(64, sload(slot))), mload(BOOK_AMOUNT)))
        }
        book.written = 0;
    }

    /// @dev Every account is written in the end.
    function _endFees(Book memory book, uint256 jobs) private pure {
        if (book.fees == 0) return;
        if (Words.unwrap(book.feesBefore) == 0) book.feesBefore = newWords(jobs);
        book.feesBefore.push(Records.toWord(book.scheduler, book.fees, Records.FEE));
        book.fees = 0;
    }

    /// @dev Adds a job's shares to the lines. No sum of payments outgrows 64 bits: they came out of budgets.
    /// @param words How many the records have, so that there are fewer slashes.
    function _enter(Book memory book, uint256 record, uint256 end, uint256 words) private view {
        book.fees += Records.amountOf(Raw.given(end - Raw.WORD));
        for (uint256 cursor = record + Records.SHARES; cursor != end - Raw.WORD; cursor += Raw.WORD) {
            uint256 share = Raw.given(cursor);
            uint256 place = Records.placeOf(share);
            assert(place < book.operators); // Market counts its operators
            uint256 line = book.lines + place * LINE_BYTES;
            uint256 sums = Raw.load(line + Raw.WORD);
            Raw.store(line, share);
            if (Records.kindOf(share) != Records.SLASHED) {
                sums += Records.amountOf(share);
                sums += Records.kindOf(share) == Records.WON ? WIN_ONE : EFFORT_ONE;
            } else {
                uint256 amount = _slashable(Sums.wrap(sums), share);
                sums += (amount << SLASHED_SHIFT) + FAULT_ONE;
                if (Words.unwrap(book.slashes) == 0) book.slashes = newWords(words);
                book.slashes.push(amount);
                book.slashed += amount;
            }
            Raw.store(line + Raw.WORD, sums);
        }
    }

    /// @dev A slash ends at what earlier ones of the batch left of the stake; what is locked answers for something
    /// else.
    function _slashable(Sums sums, uint256 share) private view returns (uint256 amount) {
        Account memory books = _accounts[_party(share)];
        uint256 available = books.bond - books.locked - sums.slashedOf();
        amount = Records.amountOf(share);
        if (amount > available) amount = available;
    }

    function _writeAccounts(Book memory book) private {
        unchecked {
            uint256 end = book.lines + book.operators * LINE_BYTES;
            for (uint256 line = book.lines; line != end; line += LINE_BYTES) {
                line = _creditPlain(line, end);
                if (line == end) break;
                Sums sums = Sums.wrap(Raw.load(line + Raw.WORD));
                address operator = _party(Raw.load(line));
                _credit(operator, sums);
                emit OperatorSettled(operator, sums);
            }
        }
        // Who earned the last fees stands nowhere else.
        if (book.fees != 0) _accounts[_party(book.scheduler)].free += book.fees.toUint64();
        if (Words.unwrap(book.feesBefore) != 0) _writeFees(book.feesBefore);
        if (book.slashed != 0) _accounts[TREASURY].free += book.slashed.toUint64();
    }

    function _writeFees(Words fees) private {
        for (uint256 i = 0; i < fees.count(); ++i) {
            uint256 share = fees.get(i);
            _accounts[_party(share)].free += Records.amountOf(share).toUint64();
        }
    }

    /// @dev Pays the operators that were not slashed and whose numbers stay within their bits, as nearly all: `_credit`
    /// on the word that an account is, and the event.
    /// @return The line at which it stopped, or `end`.
    function _creditPlain(uint256 line, uint256 end) private returns (uint256) {
        bytes32 topic = OperatorSettled.selector;
        assembly ("memory-safe") {
            for {} lt(line, end) { line := add(line, LINE_BYTES) } {
                // paid (64), slashed (64), wins (32), efforts (32), faults (32)
                let sums := mload(add(line, 0x20))
                if iszero(sums) { continue }
                let paid := and(sums, 0xffffffffffffffff)
                let wins := and(shr(128, sums), 0xffffffff)
                mstore(0, shr(96, shl(96, mload(line))))
                mstore(0x20, _accounts.slot)
                let slot := keccak256(0, 0x40) // _accounts[operator]
                // free (64), bond (64), locked (64), wins (32), faults (32)
                let word := sload(slot)
                let wide := shr(64, add(and(word, 0xffffffffffffffff), paid))
                wide := or(wide, shr(32, add(and(shr(192, word), 0xffffffff), wins)))
                if or(wide, or(shr(192, sums), and(shr(64, sums), 0xffffffffffffffff))) { break }
                sstore(slot, add(word, or(paid, shl(192, wins))))
                wide := mload(0)
                mstore(0, sums)
                log2(0, 0x20, topic, wide)
            }
        }
        return line;
    }

    function _credit(address operator, Sums sums) private {
        Account memory books = _accounts[operator];
        books.free += sums.paidOf();
        books.bond -= sums.slashedOf();
        books.wins = _addUp(books.wins, sums.winsOf());
        books.faults = _addUp(books.faults, sums.faultsOf());
        _accounts[operator] = books;
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
