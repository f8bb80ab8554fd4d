// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ICourt} from "./interfaces/ICourt.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IRoad} from "./interfaces/IRoad.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {Tally} from "./libraries/Tally.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Referral} from "./types/Courts.sol";
import {Order, Receipt, Replica} from "./types/Orders.sol";
import {Commit, Entry, Opening, RoadJob, RoadState} from "./types/Roads.sol";
import {Claim, ClaimsResult} from "./types/Seats.sol";
import {Share, ShareKind, toShare} from "./types/Share.sol";

/// @notice Judges jobs step by step; see IRoad.
/// @dev State is written before the Vault is called. The Vault calls nobody, and every payment of a job comes from
/// what `open` put into escrow for it, every slash from what its commit locked: no party's books can stop its end.
contract Road is IRoad {
    using SafeCast for uint256;

    /// @dev What a job came to, for the books and the events.
    struct Outcome {
        bytes32 job;
        bytes32 tag;
        uint256 winners;
        uint256 secs;
        /// One bit per replica that gave an answer.
        uint256 spoken;
    }

    /// @dev Who has a place among a job's replicas, while commits come in. Arrays are cut to what was used.
    struct Places {
        uint256 count;
        uint256 gone;
        Entry[] entries;
        Entry[] displaced;
    }

    /// @notice Seconds that operators have to reveal, and the least that they have to commit.
    uint256 public constant ROAD_WINDOW = Parameters.ROAD_WINDOW;

    IVault private immutable VAULT;
    IProviders private immutable PROVIDERS;
    IMarket private immutable MARKET;
    ICourt private immutable COURT;

    mapping(bytes32 job => RoadJob) private _jobs;

    constructor(IVault vault_, IProviders providers_, IMarket market_, ICourt court_) {
        bool wired = vault_.isModule(address(this)) && vault_.providers() == address(providers_)
            && vault_.market() == address(market_) && address(market_.court()) == address(court_);
        if (!wired) revert Road_WiredToOther();
        VAULT = vault_;
        PROVIDERS = providers_;
        MARKET = market_;
        COURT = court_;
    }

    // --- steps --------------------------------------------------------------------------------

    /// @inheritdoc IRoad
    function open(
        Order calldata order,
        bytes calldata requesterSig,
        uint32 round,
        Commit[] calldata commits,
        bytes calldata setSig
    ) external {
        _checkOrder(order);
        bytes32 job = _jobId(order);
        if (_isPanel(order)) {
            _requireCourt();
        } else if (!_orderedBy(order.requester, _signerOf(job, requesterSig))) {
            revert Road_RequesterSignatureInvalid();
        }
        // More would be locked and have no entry.
        if (commits.length > order.replicas) revert Road_NoPlaceLeft(commits[order.replicas].operator);
        Entry[] memory entries = _admit(order, job, round, new Entry[](0), commits).entries;
        RoadJob memory road = RoadJob(0, _commitDeadline(order), 0, RoadState.Committing);
        if (setSig.length != 0) _fix(order, job, round, entries, setSig, road);
        _write(job, round, entries, road);
        emit RoadOpened(job, order.requester, order.scheduler, round, road.deadline, setSig.length != 0);
        _reserve(order);
        _lock(order, job, commits);
    }

    /// @inheritdoc IRoad
    function commit(Order calldata order, uint32 round, Entry[] calldata entries, Commit[] calldata commits)
        external
    {
        if (_isPanel(order)) _requireCourt();
        bytes32 job = _jobId(order);
        RoadJob memory road = _load(job, round, entries);
        if (road.state != RoadState.Committing) revert Road_NotCommitting(job);
        if (block.timestamp > road.deadline) revert Road_TooLate(road.deadline);
        Places memory places = _admit(order, job, round, entries, commits);
        _write(job, round, places.entries, road);
        _lock(order, job, commits);
        _release(order, job, places.displaced);
    }

    /// @inheritdoc IRoad
    function reveal(bytes32 job, uint32 round, Entry[] calldata entries, Opening[] calldata openings)
        external
    {
        RoadJob memory road = _load(job, round, entries);
        if (!_fixed(road)) revert Road_NotRevealing(job);
        if (block.timestamp > road.deadline) revert Road_TooLate(road.deadline);
        for (uint256 i = 0; i < openings.length; ++i) {
            _mark(road, job, entries, openings[i]);
        }
        _jobs[job] = road;
    }

    /// @inheritdoc IRoad
    function finalize(
        Order calldata order,
        uint32 round,
        Entry[] calldata entries,
        Opening[] calldata openings
    ) external {
        bytes32 job = _jobId(order);
        RoadJob memory road = _load(job, round, entries);
        if (!_fixed(road)) revert Road_TooEarly(road.deadline);
        Outcome memory outcome;
        outcome.job = job;
        Share[] memory shares;
        uint64[] memory moved;
        if (entries.length < order.quorum) {
            _end(outcome);
            // Nothing could contradict so few, so nothing is paid for: a lone answer would be free to make up.
            VAULT.distribute(_releases(entries), order.bond);
        } else {
            shares = _judge(order, road, entries, openings, outcome);
            outcome.spoken = road.revealed;
            _end(outcome);
            moved = VAULT.distribute(shares, order.bond);
        }
        uint64 cost = _pay(order, outcome, shares, moved);
        if (_isPanel(order)) {
            COURT.conclude(job, outcome.tag, outcome.winners != 0, cost);
        } else if (shares.length != 0 && _concernsCourt(order, outcome)) {
            _refer(order, outcome, _commitsOf(entries), shares, moved);
        }
    }

    /// @inheritdoc IRoad
    function settle(Receipt calldata receipt, uint32 round, Entry[] calldata entries) external {
        Order calldata order = receipt.order;
        Outcome memory outcome;
        outcome.job = _jobId(order);
        _load(outcome.job, round, entries);
        bytes4 reason;
        (reason, outcome.winners, outcome.secs) = MARKET.judge(receipt);
        if (reason != bytes4(0)) revert Road_ReceiptRefused(reason);
        // Without one it says nothing that the road would not find out, and could spare a liar on it.
        if (outcome.winners == 0) revert Road_NoQuorumInReceipt();
        Share[] memory shares = _dueByReceipt(order, receipt.replicas, outcome);
        _end(outcome);
        // Who committed here may not be in the receipt, and the other way round.
        VAULT.distribute(_releases(entries), order.bond);
        uint64[] memory moved = VAULT.distribute(shares, 0);
        _pay(order, outcome, shares, moved);
        outcome.spoken = _bit(shares.length) - 1;
        if (_concernsCourt(order, outcome)) {
            _refer(order, outcome, _commitsOf(outcome.job, receipt.replicas), shares, moved);
        }
    }

    // --- views --------------------------------------------------------------------------------

    /// @inheritdoc IRoad
    function jobs(bytes32 job) external view returns (RoadJob memory) {
        return _jobs[job];
    }

    /// @inheritdoc IRoad
    function vault() external view returns (IVault) {
        return VAULT;
    }

    /// @inheritdoc IRoad
    function providers() external view returns (IProviders) {
        return PROVIDERS;
    }

    /// @inheritdoc IRoad
    function market() external view returns (IMarket) {
        return MARKET;
    }

    /// @inheritdoc IRoad
    function court() external view returns (ICourt) {
        return COURT;
    }

    // --- opening and committing ---------------------------------------------------------------

    /// @dev The same orders as Market's, as far as their worst cost fits the books.
    function _checkOrder(Order calldata order) private view {
        uint256 replicas = order.replicas;
        uint256 most = _isPanel(order) ? Parameters.MAX_PANEL : Parameters.MAX_REPLICAS;
        if (replicas == 0 || replicas > most) revert Road_ReplicaCountInvalid();
        if (uint256(order.quorum) * 2 <= replicas || order.quorum > replicas) revert Road_QuorumInvalid();
        if (order.auditBps > Parameters.BPS) revert Road_AuditInvalid();
        if (block.timestamp > order.expiry) revert Road_OrderExpired(order.expiry);
        if (order.expiry > block.timestamp + Parameters.HORIZON) revert Road_ExpiryTooFar(order.expiry);
        uint256 cost = _exactCost(order);
        if (cost > type(uint64).max) revert Road_CostTooHigh(cost);
    }

    /// @dev Not before the order's own time is up: whoever opens early must not cut off the run of lower tickets, nor
    /// the scheduler's receipt.
    function _commitDeadline(Order calldata order) private view returns (uint40) {
        uint256 least = block.timestamp + Parameters.ROAD_WINDOW;
        uint256 expiry = order.expiry;
        return (expiry < least ? least : expiry).toUint40();
    }

    /// @dev The entries with one for each commit, which are checked.
    function _admit(
        Order calldata order,
        bytes32 job,
        uint32 round,
        Entry[] memory earlier,
        Commit[] calldata commits
    ) private view returns (Places memory places) {
        if (commits.length == 0) revert Road_NoCommit();
        places.entries = new Entry[](earlier.length + commits.length);
        places.displaced = new Entry[](commits.length);
        for (; places.count < earlier.length; ++places.count) {
            places.entries[places.count] = earlier[places.count];
        }
        Claim[] memory claims = new Claim[](commits.length);
        for (uint256 i = 0; i < commits.length; ++i) {
            Commit calldata one = commits[i];
            if (one.rate > order.maxRate) revert Road_RateTooHigh(one.operator);
            if (one.ticket > order.maxTicket) revert Road_TicketTooHigh(one.operator);
            claims[i] = Claim(one.ticket, one.operator, _committer(job, round, one));
            _place(places, order.replicas, one);
        }
        _cut(places.entries, places.count);
        _cut(places.displaced, places.gone);
        _checkClaims(order, job, claims);
    }

    /// @dev By rising ticket, and the lowest only, as an honest scheduler gives places: were it first come, any few
    /// friends among all tickets could be a quorum before the others have run the job.
    function _place(Places memory places, uint256 replicas, Commit calldata one) private pure {
        Entry[] memory entries = places.entries;
        for (uint256 i = 0; i < places.count; ++i) {
            if (entries[i].operator == one.operator) revert Road_OperatorTwice(one.operator);
        }
        if (places.count == replicas) {
            Entry memory last = entries[replicas - 1];
            if (last.ticket <= one.ticket) revert Road_NoPlaceLeft(one.operator);
            places.displaced[places.gone++] = last;
            --places.count;
        }
        uint256 spot = places.count++;
        while (spot != 0 && entries[spot - 1].ticket > one.ticket) {
            entries[spot] = entries[spot - 1];
            --spot;
        }
        entries[spot] = Entry(one.operator, one.ticket, one.rate, one.commitment);
    }

    function _cut(Entry[] memory entries, uint256 length) private pure {
        assembly ("memory-safe") {
            mstore(entries, length)
        }
    }

    /// @dev Whose key brings or signed a commit. What it signed is what it signs for a scheduler, so that a job can
    /// be taken here with what one party was left with.
    function _committer(bytes32 job, uint32 round, Commit calldata one)
        private
        view
        returns (address signer)
    {
        if (one.v == 0) return msg.sender;
        bytes32 digest = _digest(TypedData.hashCommit(job, round, one.rate, one.commitment));
        (signer,,) = ECDSA.tryRecover(digest, one.v, one.r, one.s);
        if (signer == address(0)) revert Road_CommitSignatureInvalid(one.operator);
    }

    function _checkClaims(Order calldata order, bytes32 job, Claim[] memory claims) private view {
        ClaimsResult result = PROVIDERS.check(order.hardwareClass, order.seedBlock, job, claims);
        if (result == ClaimsResult.SeedUnknown) revert Road_SeedUnknown();
        if (result == ClaimsResult.SeedTooOld) revert Road_SeedTooOld();
        if (result == ClaimsResult.NotDrawn) revert Road_OperatorNotDrawn();
        if (result == ClaimsResult.NotSigner) revert Road_SignerNotRegistered();
    }

    /// @dev The set that the scheduler would have made a receipt of: it chooses here no more than there.
    function _fix(
        Order calldata order,
        bytes32 job,
        uint32 round,
        Entry[] memory entries,
        bytes calldata setSig,
        RoadJob memory road
    ) private view {
        if (entries.length != order.replicas) revert Road_SetIncomplete();
        bytes32 set = TypedData.hashCommitSet(job, round, _commitsOf(entries));
        address signer = _signerOf(_digest(set), setSig);
        // A panel's scheduler is nobody.
        if (signer == address(0) || signer != order.scheduler) revert Road_SetSignatureInvalid();
        road.state = RoadState.Revealing;
        road.deadline = (block.timestamp + Parameters.ROAD_WINDOW).toUint40();
    }

    function _write(bytes32 job, uint32 round, Entry[] memory entries, RoadJob memory road) private {
        road.context = _context(round, entries);
        _jobs[job] = road;
    }

    /// @dev Spends the nonce: a job is opened once, and settled either here or by Market.
    function _reserve(Order calldata order) private {
        VAULT.reserve(order.requester, order.scheduler, order.nonce, _worstCost(order));
    }

    function _lock(Order calldata order, bytes32 job, Commit[] calldata commits) private {
        for (uint256 i = 0; i < commits.length; ++i) {
            Commit calldata one = commits[i];
            emit ProviderCommitted(job, one.operator, one.ticket, one.rate, one.commitment);
            VAULT.lock(one.operator, order.bond);
        }
    }

    function _release(Order calldata order, bytes32 job, Entry[] memory displaced) private {
        if (displaced.length == 0) return;
        for (uint256 i = 0; i < displaced.length; ++i) {
            emit ProviderDisplaced(job, displaced[i].operator);
        }
        VAULT.distribute(_releases(displaced), order.bond);
    }

    // --- revealing ----------------------------------------------------------------------------

    /// @dev Whether the commit set can no longer change. Time may have fixed it since the last step.
    function _fixed(RoadJob memory road) private view returns (bool) {
        if (road.state == RoadState.Committing && block.timestamp > road.deadline) {
            road.state = RoadState.Revealing;
            road.deadline += uint40(Parameters.ROAD_WINDOW);
        }
        return road.state == RoadState.Revealing;
    }

    /// @dev Marks an entry as opened, if the opening is the committed one. Anybody may bring it: once the set is
    /// fixed an answer can no longer be copied, and being opened in time is what its operator wants.
    function _mark(RoadJob memory road, bytes32 job, Entry[] calldata entries, Opening calldata opening)
        private
        returns (uint256 bit)
    {
        _checkOpening(job, entries, opening);
        bit = _bit(opening.index);
        if (road.revealed & bit != 0) return bit;
        if (block.timestamp > road.deadline) revert Road_TooLate(road.deadline);
        // An index is below MAX_PANEL.
        // forge-lint: disable-next-line(unsafe-typecast)
        road.revealed |= uint24(bit);
        emit ProviderRevealed(job, entries[opening.index].operator, opening.tag, opening.secs, opening.salt);
    }

    function _checkOpening(bytes32 job, Entry[] calldata entries, Opening calldata opening) private pure {
        if (opening.index >= entries.length) revert Road_OpeningWrong(opening.index);
        Entry calldata entry = entries[opening.index];
        bytes32 opened =
            TypedData.hashCommitment(job, entry.operator, opening.tag, opening.secs, opening.salt);
        if (opened != entry.commitment) revert Road_OpeningWrong(opening.index);
    }

    // --- deciding -----------------------------------------------------------------------------

    /// @dev Tallies what was opened in time; all replicas of the order count towards the quorum.
    function _judge(
        Order calldata order,
        RoadJob memory road,
        Entry[] calldata entries,
        Opening[] calldata openings,
        Outcome memory outcome
    ) private returns (Share[] memory) {
        uint256[] memory votes = new uint256[](openings.length);
        uint256 shown = 0;
        for (uint256 i = 0; i < openings.length; ++i) {
            Opening calldata opening = openings[i];
            uint256 bit = _mark(road, outcome.job, entries, opening);
            // Each once: two votes of one operator would be two of a quorum.
            if (shown >= bit) revert Road_OpeningWrong(opening.index);
            shown |= bit;
            votes[i] = Tally.toVote(opening.tag, opening.secs);
        }
        if (shown != road.revealed) revert Road_OpeningMissing(outcome.job);
        bool all = openings.length == entries.length;
        if (!all && block.timestamp <= road.deadline) revert Road_TooEarly(road.deadline);
        uint256 agreeing;
        (agreeing, outcome.secs) = Tally.count(votes, order.quorum, order.maxSeconds);
        return _dueByOpenings(order, entries, openings, agreeing, outcome);
    }

    /// @param agreeing One bit per opening.
    function _dueByOpenings(
        Order calldata order,
        Entry[] calldata entries,
        Opening[] calldata openings,
        uint256 agreeing,
        Outcome memory outcome
    ) private pure returns (Share[] memory shares) {
        shares = new Share[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            // Who is silent or contradicted; the others are put right below.
            shares[i] = toShare(entries[i].operator, order.bond, ShareKind.Slashed);
        }
        for (uint256 n = 0; n < openings.length; ++n) {
            uint256 i = openings[n].index;
            (address operator, uint64 rate) = (entries[i].operator, entries[i].rate);
            if (agreeing == 0) {
                shares[i] = toShare(operator, _effort(order, rate, openings[n].secs), ShareKind.Effort);
            } else if (agreeing & _bit(n) != 0) {
                if (outcome.winners == 0) outcome.tag = openings[n].tag;
                outcome.winners |= _bit(i);
                shares[i] = toShare(operator, _amount(rate, outcome.secs), ShareKind.Won);
            }
        }
    }

    function _dueByReceipt(Order calldata order, Replica[] calldata replicas, Outcome memory outcome)
        private
        pure
        returns (Share[] memory shares)
    {
        shares = new Share[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            Replica calldata replica = replicas[i];
            if (outcome.winners & _bit(i) != 0) {
                if (outcome.tag == 0) outcome.tag = replica.tag;
                shares[i] = toShare(replica.operator, _amount(replica.rate, outcome.secs), ShareKind.Won);
            } else {
                shares[i] = toShare(replica.operator, order.bond, ShareKind.Slashed);
            }
        }
    }

    /// @dev Nothing but letting go of what is locked.
    function _releases(Entry[] memory entries) private pure returns (Share[] memory shares) {
        shares = new Share[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            shares[i] = toShare(entries[i].operator, 0, ShareKind.Effort);
        }
    }

    function _effort(Order calldata order, uint64 rate, uint256 secs) private pure returns (uint64) {
        uint256 paid = secs < order.maxSeconds ? secs : order.maxSeconds;
        // A quarter of what fits.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(uint256(rate) * paid * Parameters.EFFORT_BPS / Parameters.BPS);
    }

    /// @dev `open` saw the worst cost fit, and no rate or time here is above the order's.
    function _amount(uint64 rate, uint256 secs) private pure returns (uint64) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(uint256(rate) * secs);
    }

    // --- ending -------------------------------------------------------------------------------

    function _end(Outcome memory outcome) private {
        RoadState state = outcome.winners == 0 ? RoadState.Failed : RoadState.Settled;
        _jobs[outcome.job] = RoadJob(0, 0, 0, state);
    }

    /// @dev Sends on what the operators' shares leave of the escrow, and tells.
    function _pay(Order calldata order, Outcome memory outcome, Share[] memory shares, uint64[] memory moved)
        private
        returns (uint64 cost)
    {
        uint64 fee = outcome.winners == 0 ? 0 : order.fee;
        cost = fee;
        Share[] memory told = new Share[](shares.length + 1);
        for (uint256 i = 0; i < shares.length; ++i) {
            told[i] = toShare(shares[i].operatorOf(), moved[i], shares[i].kindOf());
            if (shares[i].kindOf() != ShareKind.Slashed) cost += moved[i];
        }
        told[shares.length] = toShare(order.scheduler, fee, ShareKind.Fee);
        _tell(order, outcome, told);
        if (fee != 0) VAULT.pay(order.scheduler, fee);
        VAULT.refund(order.requester, order.scheduler, _worstCost(order) - cost);
    }

    function _tell(Order calldata order, Outcome memory outcome, Share[] memory shares) private {
        if (outcome.winners == 0) {
            emit IMarket.JobWithoutQuorum(outcome.job, order.requester, shares);
        } else {
            bytes32 vote = bytes32(Tally.toVote(outcome.tag, outcome.secs));
            emit IMarket.JobSettled(outcome.job, order.requester, vote, shares);
        }
    }

    // --- the court ----------------------------------------------------------------------------

    function _isPanel(Order calldata order) private view returns (bool) {
        return order.requester == address(COURT);
    }

    /// @dev It keeps the operators of the job itself off its panel.
    function _requireCourt() private view {
        if (msg.sender != address(COURT)) revert Road_NotCourt(msg.sender);
    }

    /// @dev Whether somebody may still be proved right or wrong.
    function _concernsCourt(Order calldata order, Outcome memory outcome) private pure returns (bool) {
        if (outcome.winners == 0) return order.escalate;
        return order.auditBps != 0 || outcome.winners != outcome.spoken;
    }

    /// @dev Who was silent has nothing to be proved: what it lost is final.
    function _refer(
        Order calldata order,
        Outcome memory outcome,
        bytes32 commits,
        Share[] memory shares,
        uint64[] memory moved
    ) private {
        for (uint256 i = 0; i < shares.length; ++i) {
            if (shares[i].kindOf() != ShareKind.Slashed) continue;
            uint64 held = outcome.spoken & _bit(i) == 0 ? 0 : moved[i];
            shares[i] = toShare(shares[i].operatorOf(), held, ShareKind.Slashed);
        }
        COURT.enter(
            Referral(
                outcome.job, commits, order.requester, order.scheduler, order.fee, order.bond, order.auditBps
            ),
            shares
        );
    }

    function _commitsOf(Entry[] memory entries) private pure returns (bytes32) {
        bytes32[] memory commits = new bytes32[](entries.length);
        for (uint256 i = 0; i < entries.length; ++i) {
            commits[i] = entries[i].commitment;
        }
        return keccak256(abi.encodePacked(commits));
    }

    function _commitsOf(bytes32 job, Replica[] calldata replicas) private pure returns (bytes32) {
        bytes32[] memory commits = new bytes32[](replicas.length);
        for (uint256 i = 0; i < replicas.length; ++i) {
            Replica calldata replica = replicas[i];
            commits[i] =
                TypedData.hashCommitment(job, replica.operator, replica.tag, replica.secs, replica.salt);
        }
        return keccak256(abi.encodePacked(commits));
    }

    // --- identities ---------------------------------------------------------------------------

    /// @dev An open job, as its caller says that it stands.
    function _load(bytes32 job, uint32 round, Entry[] calldata entries)
        private
        view
        returns (RoadJob memory road)
    {
        road = _jobs[job];
        if (road.state != RoadState.Committing && road.state != RoadState.Revealing) {
            revert Road_NotOpen(job);
        }
        if (road.context != _context(round, entries)) revert Road_ContextWrong(job);
    }

    function _context(uint32 round, Entry[] memory entries) private pure returns (bytes23) {
        return bytes23(keccak256(abi.encode(round, entries)));
    }

    function _jobId(Order calldata order) private view returns (bytes32) {
        return _digest(TypedData.hashOrder(order));
    }

    /// @dev Signed for Market, by which a job has one id on both roads. Made anew each time: a fork of the chain
    /// has another id.
    function _digest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(TypedData.domainSeparator(address(MARKET)), structHash);
    }

    /// @dev Zero where a signature is not of the one form that is taken.
    function _signerOf(bytes32 digest, bytes calldata signature) private pure returns (address) {
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        return signer;
    }

    /// @dev The requester's own key or one that it registered, as for Market.
    function _orderedBy(address requester, address signer) private view returns (bool) {
        if (signer == address(0)) return false;
        return signer == requester || PROVIDERS.isSigner(requester, signer);
    }

    /// @dev Fits: `_checkOrder` saw to it before the job was taken.
    function _worstCost(Order calldata order) private pure returns (uint64) {
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(_exactCost(order));
    }

    /// @dev 64 + 32 + 8 bits, and 64: nothing can overflow.
    function _exactCost(Order calldata order) private pure returns (uint256) {
        unchecked {
            return uint256(order.maxRate) * order.maxSeconds * order.replicas + order.fee;
        }
    }

    function _bit(uint256 index) private pure returns (uint256) {
        return uint256(1) << index;
    }
}
