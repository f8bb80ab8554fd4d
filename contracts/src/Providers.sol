// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IProviders} from "./interfaces/IProviders.sol";
import {IVault} from "./interfaces/IVault.sol";
import {History} from "./libraries/History.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Raw} from "./libraries/Raw.sol";
import {Account} from "./types/Accounts.sol";
import {Claim, ClaimsResult, FailedClaim, SeatClaim, toFailedClaim} from "./types/Seats.sol";

/// @notice Keeps seats, seeds and signing keys; see IProviders.
contract Providers is IProviders {
    using History for History.Values;
    using SafeCast for uint256;

    /// @dev Seats are dense: the last one fills the hole that a leaving one makes, so every ticket draws somebody.
    /// Who held a seat and how many there were is kept by block for ever.
    struct Class {
        History.Values count;
        mapping(uint256 seat => History.Values) holders;
        mapping(address operator => uint32[] seats) held;
        /// Where each seat stands in its holder's list.
        uint32[] places;
        mapping(uint256 seedBlock => KeptSeed) kept;
    }

    /// @dev One slot, since a settlement reads it for every job.
    struct KeptSeed {
        uint176 seed;
        uint40 seats;
        /// Unix seconds; zero if it was not kept.
        uint40 keptAt;
    }

    /// @dev What decides a draw. Both kinds of seed are cut to 176 bits, so they draw alike.
    struct Drawing {
        bytes32 seed;
        uint256 seats;
    }

    /// @dev A seed of a batch, looked up.
    struct Lot {
        ClaimsResult found;
        bytes32 seed;
        uint256 seats;
        /// The block before the seed block.
        uint256 before;
        /// A seat, and the slot of the class's holders: hashed together they are the slot of the seat's holder.
        uint256 seat;
        uint256 holders;
    }

    struct Standing {
        /// In all classes.
        uint64 seats;
        /// Unix seconds from which stake that backs no seat can leave.
        uint64 readyAt;
    }

    /// @dev `previous` is in effect until `since`, and honoured for SIGNER_GRACE more.
    struct Signing {
        address signer;
        uint48 since;
        address previous;
    }

    /// @notice Micro-USD of one seat.
    uint256 public constant SEAT = Parameters.SEAT;
    /// @notice Seconds that stake stays slashable after the last seat was given up.
    uint256 public constant UNBONDING = Parameters.UNBONDING;
    /// @notice Seconds that a kept seed can be used.
    uint256 public constant SEED_LIFE = Parameters.SEED_LIFE;
    /// @notice Seconds until a change of signing key takes effect.
    uint256 public constant SIGNER_DELAY = Parameters.SIGNER_DELAY;
    /// @notice Seconds that a replaced key is honoured.
    uint256 public constant SIGNER_GRACE = Parameters.SIGNER_GRACE;

    // Where these members of Lot lie.
    uint256 private constant LOT_SEED = 0x20;
    uint256 private constant LOT_SEATS = 0x40;
    uint256 private constant LOT_BEFORE = 0x60;
    uint256 private constant LOT_SEAT = 0x80;

    uint256 private constant DROPPED_SEED_BITS = 80;
    uint256 private constant PAIR_BYTES = 64;

    IVault private immutable VAULT;

    mapping(bytes32 hardwareClass => Class) private _classes;
    mapping(address operator => Standing) private _standings;
    mapping(address operator => Signing) private _signings;

    /// @inheritdoc IProviders
    mapping(address signer => address operator) public operatorOf;

    constructor(IVault vault_) {
        if (vault_.providers() != address(this)) revert Providers_WiredToOther(vault_.providers());
        VAULT = vault_;
    }

    // --- seats --------------------------------------------------------------------------------

    /// @inheritdoc IProviders
    function stake(bytes32 hardwareClass, uint256 seats) external {
        if (seats == 0) revert Providers_NoSeats();
        Class storage class = _classes[hardwareClass];
        uint256 count = class.count.latest();
        if (seats > Parameters.MAX_SEATS - count) revert Providers_ClassFull(hardwareClass, count);
        _standings[msg.sender].seats += seats.toUint64();
        uint32[] storage held = class.held[msg.sender];
        for (uint256 seat = count; seat < count + seats; ++seat) {
            class.holders[seat].push(uint160(msg.sender));
            class.places.push(held.length.toUint32());
            held.push(seat.toUint32());
        }
        class.count.push((count + seats).toUint160());
        emit Staked(msg.sender, hardwareClass, seats);
        VAULT.bond(msg.sender, (seats * SEAT).toUint64());
    }

    /// @inheritdoc IProviders
    function unstake(bytes32 hardwareClass, uint256 seats) external {
        uint256 readyAt = _vacate(msg.sender, hardwareClass, seats);
        emit Unstaked(msg.sender, hardwareClass, seats, readyAt);
    }

    /// @inheritdoc IProviders
    function topUp(uint64 amount) external {
        emit ToppedUp(msg.sender, amount);
        VAULT.bond(msg.sender, amount);
    }

    /// @inheritdoc IProviders
    function exit() external {
        Standing memory standing_ = _standings[msg.sender];
        if (block.timestamp < standing_.readyAt) {
            revert Providers_StillUnbonding(msg.sender, standing_.readyAt);
        }
        Account memory books = VAULT.account(msg.sender);
        uint256 bonded = books.bond;
        // What an open matter holds stays too, whichever is more: seats are backed by any stake.
        uint256 backing = Math.max(standing_.seats * SEAT, books.locked);
        if (bonded <= backing) revert Providers_NothingToExit(msg.sender);
        uint64 spare = (bonded - backing).toUint64();
        emit Exited(msg.sender, spare);
        VAULT.release(msg.sender, spare);
    }

    /// @inheritdoc IProviders
    function evict(address operator, bytes32 hardwareClass, uint256 seats) external {
        uint256 all = _standings[operator].seats;
        uint64 bonded = VAULT.account(operator).bond;
        // Each seat taken must have been one too many: without all of them but one, the rest were still uncovered.
        if (seats > all || (all - seats + 1) * Parameters.SEAT_BACKING <= bonded) {
            revert Providers_SeatsCovered(operator, all, bonded);
        }
        uint256 readyAt = _vacate(operator, hardwareClass, seats);
        emit Evicted(operator, hardwareClass, seats, readyAt);
    }

    // --- seeds --------------------------------------------------------------------------------

    /// @inheritdoc IProviders
    function keepSeed(bytes32 hardwareClass, uint256 seedBlock) external {
        KeptSeed storage kept = _classes[hardwareClass].kept[seedBlock];
        // Keeping again must not lengthen the time that stake has to stay.
        if (kept.keptAt != 0) return;
        (ClaimsResult found, Drawing memory drawing) = _fresh(hardwareClass, seedBlock);
        if (found != ClaimsResult.Valid) revert Providers_SeedUnknown(seedBlock);
        kept.seed = (uint256(drawing.seed) >> DROPPED_SEED_BITS).toUint176();
        kept.seats = drawing.seats.toUint40();
        kept.keptAt = block.timestamp.toUint40();
        emit SeedKept(hardwareClass, seedBlock, drawing.seed, drawing.seats);
    }

    // --- signing keys -------------------------------------------------------------------------

    /// @inheritdoc IProviders
    function setSigner(address signer) external {
        if (signer == address(0)) revert Providers_SignerZero();
        address owner = operatorOf[signer];
        if (owner != address(0) && owner != msg.sender) revert Providers_SignerTaken(signer, owner);
        operatorOf[signer] = msg.sender;

        Signing storage signing = _signings[msg.sender];
        uint256 effectiveAt = block.timestamp;
        if (signing.signer != address(0)) {
            effectiveAt += SIGNER_DELAY;
            if (block.timestamp >= signing.since) {
                // There is room for one former key: the last one must be out of its grace.
                uint256 settledAt = signing.since + SIGNER_GRACE;
                if (signing.previous != address(0) && block.timestamp < settledAt) {
                    revert Providers_SignerChanging(msg.sender, settledAt);
                }
                signing.previous = signing.signer;
            }
        }
        signing.signer = signer;
        signing.since = effectiveAt.toUint48();
        emit SignerSet(msg.sender, signer, effectiveAt);
    }

    // --- views --------------------------------------------------------------------------------

    /// @inheritdoc IProviders
    function draw(bytes32 hardwareClass, uint256 seedBlock, bytes32 job, uint256 maxTicket)
        external
        view
        returns (address[] memory operators)
    {
        Drawing memory drawing = _drawingOrRevert(hardwareClass, seedBlock);
        operators = new address[](maxTicket + 1);
        for (uint256 ticket = 0; ticket <= maxTicket; ++ticket) {
            operators[ticket] = _drawn(_classes[hardwareClass], drawing, seedBlock, job, ticket);
        }
    }

    /// @inheritdoc IProviders
    function drawTicket(bytes32 hardwareClass, uint256 seedBlock, bytes32 job, uint256 ticket)
        external
        view
        returns (address operator)
    {
        Drawing memory drawing = _drawingOrRevert(hardwareClass, seedBlock);
        return _drawn(_classes[hardwareClass], drawing, seedBlock, job, ticket);
    }

    /// @inheritdoc IProviders
    function check(bytes32 hardwareClass, uint256 seedBlock, bytes32 job, Claim[] calldata claims)
        external
        view
        returns (ClaimsResult)
    {
        (ClaimsResult found, Drawing memory drawing) = _drawing(hardwareClass, seedBlock);
        if (found != ClaimsResult.Valid) return found;
        Class storage class = _classes[hardwareClass];
        for (uint256 i = 0; i < claims.length; ++i) {
            Claim calldata claim = claims[i];
            address operator = claim.operator;
            if (operator == address(0) || _drawn(class, drawing, seedBlock, job, claim.ticket) != operator) {
                return ClaimsResult.NotDrawn;
            }
            if (!isSigner(operator, claim.signer)) return ClaimsResult.NotSigner;
        }
        return ClaimsResult.Valid;
    }

    /// @inheritdoc IProviders
    function checkBatch(uint256 claimWords, uint256 keys, uint256[] calldata words)
        external
        view
        returns (FailedClaim[] memory failures)
    {
        unchecked {
            uint256 cursor;
            assembly ("memory-safe") {
                cursor := words.offset
            }
            uint256 end = cursor + claimWords * Raw.WORD;
            (bool[] memory spoken, uint256 sure) = _spoken(end, keys);
            Lot[] memory lots = _lots(end + keys * PAIR_BYTES, (words.length - claimWords) / 2 - keys);
            uint256 doubtful = _passGood(cursor, end, lots, sure);
            if (doubtful == end) _returnNothing();
            failures = _failures(cursor, doubtful, end, lots, spoken);
        }
    }

    /// @inheritdoc IProviders
    function signerOf(address operator) external view returns (address) {
        Signing storage signing = _signings[operator];
        return block.timestamp < signing.since ? signing.previous : signing.signer;
    }

    /// @inheritdoc IProviders
    function seatsOf(address operator, bytes32 hardwareClass) external view returns (uint256) {
        return _classes[hardwareClass].held[operator].length;
    }

    /// @inheritdoc IProviders
    function seatCount(bytes32 hardwareClass) external view returns (uint256) {
        return _classes[hardwareClass].count.latest();
    }

    /// @inheritdoc IProviders
    function standing(address operator) external view returns (uint256 seats, uint256 readyAt) {
        Standing memory standing_ = _standings[operator];
        return (standing_.seats, standing_.readyAt);
    }

    /// @inheritdoc IProviders
    function vault() external view returns (IVault) {
        return VAULT;
    }

    /// @inheritdoc IProviders
    function isSigner(address operator, address signer) public view returns (bool) {
        if (signer == address(0)) return false;
        Signing storage signing = _signings[operator];
        if (signer == signing.signer) return block.timestamp >= signing.since || signer == signing.previous;
        return signer == signing.previous && block.timestamp < signing.since + SIGNER_GRACE;
    }

    // --- internals ----------------------------------------------------------------------------

    /// @dev Gives up an operator's newest seats. One time for all of them: whoever keeps leaving keeps waiting.
    function _vacate(address operator, bytes32 hardwareClass, uint256 seats)
        private
        returns (uint256 readyAt)
    {
        if (seats == 0) revert Providers_NoSeats();
        Class storage class = _classes[hardwareClass];
        uint32[] storage held = class.held[operator];
        if (held.length < seats) {
            revert Providers_TooFewSeats(operator, hardwareClass, held.length, seats);
        }
        uint256 count = class.count.latest();
        for (uint256 n = 0; n < seats; ++n) {
            uint256 seat = held[held.length - 1];
            held.pop();
            _fill(class, seat, --count);
        }
        class.count.push(count.toUint160());

        readyAt = block.timestamp + UNBONDING;
        Standing storage standing_ = _standings[operator];
        standing_.seats -= seats.toUint64();
        standing_.readyAt = readyAt.toUint64();
    }

    /// @dev Moves the holder of the last seat into `seat`. Nobody's chances change: all seats are alike.
    function _fill(Class storage class, uint256 seat, uint256 last) private {
        if (seat != last) {
            uint160 holder = class.holders[last].latest();
            uint32 place = class.places[last];
            class.holders[seat].push(holder);
            class.held[address(holder)][place] = seat.toUint32();
            class.places[seat] = place;
        }
        class.places.pop();
    }

    function _drawingOrRevert(bytes32 hardwareClass, uint256 seedBlock)
        private
        view
        returns (Drawing memory)
    {
        (ClaimsResult found, Drawing memory drawing) = _drawing(hardwareClass, seedBlock);
        if (found != ClaimsResult.Valid) revert Providers_SeedUnknown(seedBlock);
        return drawing;
    }

    /// @dev A kept seed comes first: it is one read, and it stays usable when the chain forgets.
    function _drawing(bytes32 hardwareClass, uint256 seedBlock)
        private
        view
        returns (ClaimsResult, Drawing memory)
    {
        KeptSeed memory kept = _classes[hardwareClass].kept[seedBlock];
        if (kept.keptAt == 0) return _fresh(hardwareClass, seedBlock);
        if (block.timestamp > kept.keptAt + SEED_LIFE) return (ClaimsResult.SeedTooOld, Drawing(0, 0));
        return (ClaimsResult.Valid, Drawing(bytes32(uint256(kept.seed) << DROPPED_SEED_BITS), kept.seats));
    }

    function _fresh(bytes32 hardwareClass, uint256 seedBlock)
        private
        view
        returns (ClaimsResult, Drawing memory)
    {
        if (seedBlock == 0) return (ClaimsResult.SeedUnknown, Drawing(0, 0));
        uint256 hash = uint256(Blockhash.blockHash(seedBlock));
        if (hash == 0) return (ClaimsResult.SeedUnknown, Drawing(0, 0));
        uint256 seats = _classes[hardwareClass].count.valueAt(seedBlock - 1);
        return (ClaimsResult.Valid, Drawing(bytes32(hash >> DROPPED_SEED_BITS << DROPPED_SEED_BITS), seats));
    }

    /// @dev One look at each seed of a batch.
    /// @param cursor Where they are in the call data: pairs of a hardware class and a block.
    function _lots(uint256 cursor, uint256 count) private view returns (Lot[] memory lots) {
        lots = new Lot[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes32 hardwareClass = bytes32(Raw.given(cursor));
            uint256 seedBlock = Raw.given(cursor + Raw.WORD);
            cursor += PAIR_BYTES;
            (ClaimsResult found, Drawing memory drawing) = _drawing(hardwareClass, seedBlock);
            Lot memory lot = lots[i];
            lot.found = found;
            if (found != ClaimsResult.Valid) continue;
            (lot.seed, lot.seats, lot.before) = (drawing.seed, drawing.seats, seedBlock - 1);
            lot.holders = _holdersOf(_classes[hardwareClass]);
        }
    }

    /// @dev One look at each key of a batch.
    /// @param cursor Where they are in the call data: pairs of an operator and who signed for it.
    /// @return spoken Whether each is good.
    /// @return sure How many are good before the first that is not.
    function _spoken(uint256 cursor, uint256 count)
        private
        view
        returns (bool[] memory spoken, uint256 sure)
    {
        unchecked {
            spoken = new bool[](count);
            sure = count;
            for (uint256 i = 0; i < count; ++i) {
                i = _passSpoken(cursor, count, spoken, i);
                if (i == count) break;
                uint256 pair = cursor + i * PAIR_BYTES;
                (uint256 operator, uint256 signer) = (Raw.given(pair), Raw.given(pair + Raw.WORD));
                // Market pushed addresses.
                // forge-lint: disable-next-line(unsafe-typecast)
                spoken[i] = isSigner(address(uint160(operator)), address(uint160(signer)));
                if (!spoken[i] && i < sure) sure = i;
            }
        }
    }

    /// @dev Marks the keys that are their operators' newest ones and in effect, as nearly all are: `isSigner`.
    /// @return The first from `i` on that may not be, or `count`.
    function _passSpoken(uint256 cursor, uint256 count, bool[] memory spoken, uint256 i)
        private
        view
        returns (uint256)
    {
        assembly ("memory-safe") {
            cursor := add(cursor, shl(6, i))
            for {} lt(i, count) { i := add(i, 1) } {
                mstore(0, calldataload(cursor))
                mstore(0x20, _signings.slot)
                let word := sload(keccak256(0, 0x40)) // signer (160), since (48)
                let signer := calldataload(add(cursor, 0x20))
                let bad := or(iszero(signer), shl(96, xor(word, signer)))
                if or(bad, lt(timestamp(), and(shr(160, word), 0xffffffffffff))) { break }
                mstore(add(add(spoken, 0x20), shl(5, i)), 1)
                cursor := add(cursor, 0x40)
            }
        }
        return i;
    }

    /// @dev Jobs are numbered from `cursor` on; the first that may not be good is at `doubtful`.
    function _failures(uint256 cursor, uint256 doubtful, uint256 end, Lot[] memory lots, bool[] memory spoken)
        private
        view
        returns (FailedClaim[] memory failures)
    {
        failures = new FailedClaim[]((end - cursor) / PAIR_BYTES);
        (uint256 failed, uint256 job, uint256 sure) = (0, 0, _sure(spoken));
        while (cursor != end) {
            for (; cursor != doubtful; ++job) {
                cursor = _nextJob(cursor);
            }
            FailedClaim failure = _checkJob(cursor, lots, spoken, job);
            if (FailedClaim.unwrap(failure) != 0) failures[failed++] = failure;
            cursor = _nextJob(cursor);
            ++job;
            doubtful = _passGood(cursor, end, lots, sure);
            if (doubtful == end) break;
        }
        assembly ("memory-safe") {
            mstore(failures, failed)
        }
    }

    /// @dev An empty list as it is encoded: nearly always the answer of `checkBatch`.
    function _returnNothing() private pure {
        assembly ("memory-safe") {
            mstore(0, 0x20)
            mstore(0x20, 0)
            return(0, 0x40)
        }
    }

    function _sure(bool[] memory spoken) private pure returns (uint256 sure) {
        while (sure < spoken.length && spoken[sure]) ++sure;
    }

    function _nextJob(uint256 cursor) private pure returns (uint256) {
        return cursor + (SeatClaim.wrap(Raw.given(cursor + Raw.WORD)).claimsOfJob() + 1) * Raw.WORD;
    }

    /// @param cursor Where the job is in the call data; its claims follow.
    /// @return failed The first claim that is not good; zero if all are.
    function _checkJob(uint256 cursor, Lot[] memory lots, bool[] memory spoken, uint256 job)
        private
        view
        returns (FailedClaim failed)
    {
        unchecked {
            bytes32 id = bytes32(Raw.given(cursor));
            uint256 next = _nextJob(cursor);
            cursor += Raw.WORD;
            Lot memory lot = lots[SeatClaim.wrap(Raw.given(cursor)).claimedSeed()];
            bytes32 jobSeed = Hashes.efficientKeccak256(lot.seed, id);
            for (SeatClaim claim; cursor != next; cursor += Raw.WORD) {
                claim = SeatClaim.wrap(Raw.given(cursor));
                ClaimsResult result = _checkClaim(lot, jobSeed, claim, spoken);
                if (result != ClaimsResult.Valid) return toFailedClaim(result, job, claim.claimedKey());
            }
        }
    }

    /// @dev Passes over the jobs whose claims are all good by seats that have not changed hands since the seed, as
    /// nearly all are. In assembly: every replica of a batch comes by here. Where it stops, `_checkClaim` finds out.
    /// @param sure How many of the first keys are good.
    /// @return The job at which it stopped, or `end`.
    function _passGood(uint256 cursor, uint256 end, Lot[] memory lots, uint256 sure)
        private
        view
        returns (uint256)
    {
        assembly ("memory-safe") {
            for {} lt(cursor, end) {} {
                let claim := calldataload(add(cursor, 0x20))
                let lot := and(shr(168, claim), 0xffffff)
                if iszero(lt(lot, mload(lots))) { break }
                lot := mload(add(add(lots, 0x20), shl(5, lot)))
                // The job's seed stays in the first word of scratch, before each ticket.
                mstore(0, mload(add(lot, LOT_SEED)))
                mstore(0x20, calldataload(cursor))
                mstore(0, keccak256(0, 0x40))
                let next := add(add(cursor, 0x20), shl(5, byte(7, claim))) // claimsOfJob
                let seats := mload(add(lot, LOT_SEATS))
                let bad := or(mload(lot), iszero(seats)) // a seed that was not found
                for { let at := add(cursor, 0x20) } lt(at, next) { at := add(at, 0x20) } {
                    claim := calldataload(at)
                    mstore(0x20, byte(11, claim)) // the ticket
                    mstore(add(lot, LOT_SEAT), mod(keccak256(0, 0x40), seats))
                    let holder := sload(keccak256(add(lot, LOT_SEAT), 0x40)) // newest (160), since (96)
                    bad := or(bad, or(shl(96, xor(holder, claim)), iszero(shl(96, claim))))
                    bad := or(bad, gt(shr(160, holder), mload(add(lot, LOT_BEFORE))))
                    bad := or(bad, iszero(lt(shr(232, claim), sure))) // the key
                }
                if bad { break }
                cursor := next
            }
        }
        return cursor;
    }

    function _checkClaim(Lot memory lot, bytes32 jobSeed, SeatClaim claim, bool[] memory spoken)
        private
        view
        returns (ClaimsResult)
    {
        if (lot.found != ClaimsResult.Valid) return lot.found;
        address operator = claim.claimedOperator();
        address drawn = _seated(lot.holders, lot.seats, lot.before, jobSeed, claim.claimedTicket());
        if (operator == address(0) || drawn != operator) return ClaimsResult.NotDrawn;
        return spoken[claim.claimedKey()] ? ClaimsResult.Valid : ClaimsResult.NotSigner;
    }

    function _drawn(
        Class storage class,
        Drawing memory drawing,
        uint256 seedBlock,
        bytes32 job,
        uint256 ticket
    ) private view returns (address) {
        bytes32 jobSeed = Hashes.efficientKeccak256(drawing.seed, job);
        return _seated(_holdersOf(class), drawing.seats, seedBlock - 1, jobSeed, ticket);
    }

    function _holdersOf(Class storage class) private view returns (uint256 slot) {
        mapping(uint256 seat => History.Values) storage holders = class.holders;
        assembly ("memory-safe") {
            slot := holders.slot
        }
    }

    /// @dev Who held seat keccak256(keccak256(seed, job), ticket) modulo the seats; the bias is below 2^-200.
    /// @param holders The slot of a class's holders.
    function _seated(uint256 holders, uint256 seats, uint256 number, bytes32 jobSeed, uint256 ticket)
        private
        view
        returns (address)
    {
        if (seats == 0) return address(0);
        History.Values storage holder;
        assembly ("memory-safe") {
            mstore(0, jobSeed)
            mstore(0x20, ticket)
            mstore(0, mod(keccak256(0, 0x40), seats))
            mstore(0x20, holders)
            holder.slot := keccak256(0, 0x40) // holders[seat]
        }
        return address(holder.valueAt(number));
    }
}
