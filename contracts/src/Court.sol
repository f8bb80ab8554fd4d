// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ICourt} from "./interfaces/ICourt.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IProviders} from "./interfaces/IProviders.sol";
import {IRoad} from "./interfaces/IRoad.sol";
import {IVault} from "./interfaces/IVault.sol";
import {Parameters} from "./libraries/Parameters.sol";
import {TypedData} from "./libraries/TypedData.sol";
import {Account} from "./types/Accounts.sol";
import {
    Case,
    CaseState,
    Fund,
    Matter,
    Panel,
    PanelKind,
    Pledges,
    Referral,
    Verdict
} from "./types/Courts.sol";
import {Order} from "./types/Orders.sol";
import {Commit, Entry, Opening, RoadState} from "./types/Roads.sol";
import {Share, ShareKind, toShare} from "./types/Share.sol";

/// @notice Calls panels and carries out what they say; see ICourt.
/// @dev All contracts called are this market's own, and none of them calls a stranger's. Nothing that a party did to
/// its own books can stop a case: what a case pays lies in escrow, and what it slashes ends at the stake.
contract Court is ICourt {
    using SafeCast for uint256;

    /// @dev What a panel's verdict says of the first one.
    struct Findings {
        /// One bit per replica whose slash comes back.
        uint256 returned;
        /// Whether the winners said something else than the panel.
        bool contradicted;
    }

    /// @notice Seconds in which a panel may be called for a decided job.
    uint256 public constant APPEAL_WINDOW = Parameters.APPEAL_WINDOW;
    /// @notice Seconds in which the output of a panel's quorum may be shown.
    uint256 public constant PROOF_WINDOW = Parameters.PROOF_WINDOW;
    /// @notice A panel's only round.
    uint32 public constant PANEL_ROUND = 0;

    address private constant NOBODY = address(0);

    IVault private immutable VAULT;
    IProviders private immutable PROVIDERS;
    IMarket private immutable MARKET;
    IRoad private immutable ROAD;
    address private immutable TREASURY;

    mapping(bytes32 job => Case) private _cases;
    mapping(bytes32 panelJob => Verdict) private _verdicts;
    mapping(address scheduler => Fund) private _funds;
    mapping(address operator => Pledges) private _pledges;
    mapping(uint256 seedBlock => bytes32) private _seeds;

    constructor(IVault vault_, IProviders providers_, IMarket market_, IRoad road_) {
        bool wired = vault_.isModule(address(this)) && vault_.isModule(address(road_))
            && vault_.providers() == address(providers_) && vault_.market() == address(market_)
            && address(market_.court()) == address(this) && address(road_.court()) == address(this)
            && address(road_.market()) == address(market_);
        if (!wired) revert Court_WiredToOther();
        VAULT = vault_;
        PROVIDERS = providers_;
        MARKET = market_;
        ROAD = road_;
        TREASURY = vault_.treasury();
    }

    // --- jobs come in -------------------------------------------------------------------------

    /// @inheritdoc ICourt
    function enter(Referral calldata referral, Share[] calldata told) external {
        if (msg.sender != address(MARKET) && msg.sender != address(ROAD)) revert Court_NotJudge(msg.sender);
        Share[] memory shares = told;
        bool agreed = _agreed(shares);
        uint64 held = _heldOf(shares);
        bool auditable = agreed && referral.auditBps != 0;
        // Everybody who was contradicted had nothing left to lose.
        if (agreed && held == 0 && !auditable) return;
        if (auditable) _secure(referral, shares);
        _cases[referral.job] = Case(
            _context(referral.commits, shares, block.number),
            block.timestamp.toUint40(),
            agreed ? CaseState.Entered : CaseState.Split
        );
        emit JobEntered(referral.job, referral.commits, shares);
        if (held != 0) VAULT.collect(TREASURY, held);
    }

    /// @inheritdoc ICourt
    function conclude(bytes32 panelJob, bytes32 tag, bool agreed, uint64 cost) external {
        if (msg.sender != address(ROAD)) revert Court_NotJudge(msg.sender);
        // The first bytes are what is kept.
        // forge-lint: disable-next-line(unsafe-typecast)
        _verdicts[panelJob] = Verdict(bytes18(tag), cost, block.timestamp.toUint40(), agreed);
    }

    // --- panels are called --------------------------------------------------------------------

    /// @inheritdoc ICourt
    function appeal(Matter calldata matter) external {
        (bytes32 job, Case memory case_) = _callable(matter, CaseState.Entered);
        if (_heldOf(matter.shares) == 0) revert Court_NothingHeld(job);
        _call(matter, job, case_, PanelKind.Appeal, msg.sender);
        VAULT.collect(msg.sender, _cost(matter.order));
    }

    /// @inheritdoc ICourt
    function audit(Matter calldata matter) external {
        (bytes32 job, Case memory case_) = _callable(matter, CaseState.Entered);
        Order calldata order = matter.order;
        if (!isDrawn(job, matter.enteredIn, order.auditBps)) revert Court_NotDrawn(job);
        uint64 cost = _cost(order);
        // What audits take from a fund, their fees bring in: else anybody could name a scheduler and drain its fund.
        uint256 share = uint256(cost) * order.auditBps / Parameters.BPS;
        if (order.fee < share) revert Court_FeeTooSmall(order.fee, share);
        _call(matter, job, case_, PanelKind.Audit, NOBODY);
        _spend(order.scheduler, cost);
    }

    /// @inheritdoc ICourt
    function escalate(Matter calldata matter) external {
        (bytes32 job, Case memory case_) = _callable(matter, CaseState.Split);
        _call(matter, job, case_, PanelKind.Escalation, NOBODY);
        Order calldata order = matter.order;
        // A job's id is as good as a number that the requester has not used yet.
        VAULT.reserve(order.requester, order.scheduler, uint256(job), _cost(order));
    }

    // --- panels sit ---------------------------------------------------------------------------

    /// @inheritdoc ICourt
    function join(
        Matter calldata matter,
        Panel calldata panel,
        Entry[] calldata entries,
        Commit[] calldata commits
    ) external {
        _loadCalled(matter, panel);
        _checkFresh(matter.shares, commits);
        Order memory order = _panelOrder(matter.order, panel);
        if (entries.length != 0) {
            ROAD.commit(order, PANEL_ROUND, entries, commits);
            return;
        }
        PROVIDERS.keepSeed(order.hardwareClass, order.seedBlock);
        VAULT.refund(address(this), NOBODY, _cost(matter.order));
        ROAD.open(order, "", PANEL_ROUND, commits, "");
    }

    // --- cases are closed ---------------------------------------------------------------------

    /// @inheritdoc ICourt
    function close(Matter calldata matter, Panel calldata panel, Opening[] calldata openings, bytes32 digest)
        external
    {
        bytes32 job = _loadCalled(matter, panel);
        bytes32 panelJob = _jobOf(_panelOrder(matter.order, panel));
        Verdict memory verdict = _verdictOf(panelJob, panel);
        delete _cases[job];
        delete _verdicts[panelJob];
        uint64 left = _cost(matter.order) - verdict.cost;
        // What the road gave back. An unjoined panel's money has never left.
        if (verdict.endedAt != 0) VAULT.reserve(address(this), NOBODY, uint256(panelJob), left);
        if (panel.kind == PanelKind.Escalation) {
            VAULT.refund(matter.order.requester, matter.order.scheduler, left);
            emit CaseClosed(job, 0, left, 0);
            return;
        }
        Findings memory findings;
        if (!verdict.agreed) {
            // Nobody is provably wrong.
            findings.returned = type(uint256).max;
        } else if (digest != 0) {
            if (bytes18(_tag(panelJob, digest)) != verdict.tag) revert Court_DigestWrong(digest);
            findings = _compare(matter, job, openings, digest);
        } else {
            uint256 until = verdict.endedAt + PROOF_WINDOW;
            if (block.timestamp <= until) revert Court_TooEarly(until);
            // Whoever took pay for an answer can say what it was; who said it on an order with audits has to.
            findings.contradicted = matter.order.auditBps != 0;
        }
        _carryOut(matter, panel, job, findings, verdict.cost, left);
    }

    /// @inheritdoc ICourt
    function release(Matter calldata matter) external {
        bytes32 job = _jobOf(matter.order);
        Case memory case_ = _cases[job];
        if (case_.state != CaseState.Entered && case_.state != CaseState.Split) revert Court_NotOpen(job);
        if (case_.context != _contextOf(matter)) revert Court_ContextWrong(job);
        uint256 until = case_.since + APPEAL_WINDOW;
        if (block.timestamp <= until) revert Court_TooEarly(until);
        delete _cases[job];
        uint64 held = _heldOf(matter.shares);
        emit CaseClosed(job, held, 0, 0);
        if (held != 0) VAULT.pay(TREASURY, held);
    }

    // --- audits -------------------------------------------------------------------------------

    /// @inheritdoc ICourt
    function keepSeed(uint256 seedBlock) external {
        if (_seeds[seedBlock] != 0) return;
        bytes32 seed = _seedOf(seedBlock);
        _seeds[seedBlock] = seed;
        emit AuditSeedKept(seedBlock, seed);
    }

    /// @inheritdoc ICourt
    function topUp(address scheduler, uint64 amount) external {
        _raise(scheduler, amount);
        emit FundRaised(scheduler, msg.sender, amount);
        VAULT.collect(msg.sender, amount);
    }

    /// @inheritdoc ICourt
    function withdraw(address scheduler) external {
        Fund memory fund = fundOf(scheduler);
        uint64 amount = fund.settled;
        fund.settled = 0;
        _funds[scheduler] = fund;
        emit FundWithdrawn(scheduler, amount);
        VAULT.pay(scheduler, amount);
    }

    /// @inheritdoc ICourt
    function unlock(address operator) external {
        (Pledges memory pledges, uint64 expired) = pledgesOf(operator);
        _pledges[operator] = pledges;
        if (expired != 0) _letGo(operator, expired);
    }

    // --- views --------------------------------------------------------------------------------

    /// @inheritdoc ICourt
    function caseOf(bytes32 job) external view returns (Case memory) {
        return _cases[job];
    }

    /// @inheritdoc ICourt
    function verdictOf(bytes32 panelJob) external view returns (Verdict memory) {
        return _verdicts[panelJob];
    }

    /// @inheritdoc ICourt
    function panelOrder(Order calldata order, Panel calldata panel) external view returns (Order memory) {
        return _panelOrder(order, panel);
    }

    /// @inheritdoc ICourt
    function vault() external view returns (IVault) {
        return VAULT;
    }

    /// @inheritdoc ICourt
    function providers() external view returns (IProviders) {
        return PROVIDERS;
    }

    /// @inheritdoc ICourt
    function market() external view returns (IMarket) {
        return MARKET;
    }

    /// @inheritdoc ICourt
    function road() external view returns (IRoad) {
        return ROAD;
    }

    /// @inheritdoc ICourt
    function fundOf(address scheduler) public view returns (Fund memory fund) {
        fund = _funds[scheduler];
        uint40 epoch = _epochOf(block.timestamp);
        if (fund.epoch == epoch) return fund;
        fund.settled += fund.previous;
        fund.previous = fund.current;
        if (fund.epoch + 1 != epoch) {
            fund.settled += fund.previous;
            fund.previous = 0;
        }
        fund.current = 0;
        fund.epoch = epoch;
    }

    /// @inheritdoc ICourt
    function pledgesOf(address operator) public view returns (Pledges memory pledges, uint64 expired) {
        pledges = _pledges[operator];
        uint40 epoch = _epochOf(block.timestamp);
        if (pledges.epoch == epoch) return (pledges, 0);
        expired = pledges.previous;
        pledges.previous = pledges.current;
        if (pledges.epoch + 1 != epoch) {
            expired += pledges.previous;
            pledges.previous = 0;
        }
        pledges.current = 0;
        pledges.epoch = epoch;
    }

    /// @inheritdoc ICourt
    function isDrawn(bytes32 job, uint64 enteredIn, uint16 auditBps) public view returns (bool) {
        uint256 seedBlock = auditBlock(enteredIn);
        bytes32 seed = _seeds[seedBlock];
        if (seed == 0) seed = _seedOf(seedBlock);
        return uint256(keccak256(abi.encode(seed, job))) % Parameters.BPS < auditBps;
    }

    /// @inheritdoc ICourt
    function auditBlock(uint64 enteredIn) public pure returns (uint256) {
        return (enteredIn / Parameters.AUDIT_SPAN_BLOCKS + 2) * Parameters.AUDIT_SPAN_BLOCKS;
    }

    /// @inheritdoc ICourt
    function panelCost(Order calldata order) public pure returns (uint256) {
        return uint256(order.maxRate) * order.maxSeconds * (2 * uint256(order.replicas) + 1);
    }

    // --- calling ------------------------------------------------------------------------------

    /// @dev A decided job for which a panel may still be called.
    function _callable(Matter calldata matter, CaseState state)
        private
        view
        returns (bytes32 job, Case memory case_)
    {
        job = _jobOf(matter.order);
        case_ = _cases[job];
        if (case_.state != state) revert Court_NotOpen(job);
        if (case_.context != _contextOf(matter)) revert Court_ContextWrong(job);
        uint256 until = case_.since + APPEAL_WINDOW;
        if (block.timestamp > until) revert Court_TooLate(until);
    }

    function _call(Matter calldata matter, bytes32 job, Case memory case_, PanelKind kind, address payer)
        private
    {
        Panel memory panel = Panel(
            kind,
            payer,
            (block.number + Parameters.PANEL_SEED_BLOCKS).toUint64(),
            (block.timestamp + Parameters.HORIZON).toUint64()
        );
        _cases[job] = Case(_calledContext(case_.context, panel), block.timestamp.toUint40(), CaseState.Called);
        emit PanelCalled(
            job, _jobOf(_panelOrder(matter.order, panel)), kind, payer, panel.seedBlock, panel.expiry
        );
        if (kind != PanelKind.Escalation && matter.order.auditBps != 0) _takeOver(matter, case_.since);
    }

    /// @dev From now on the case itself holds the winners' stake.
    function _takeOver(Matter calldata matter, uint256 since) private {
        for (uint256 i = 0; i < matter.shares.length; ++i) {
            if (_isBacked(matter, i)) {
                _unpledge(matter.shares[i].operatorOf(), matter.order.bond, _epochOf(since));
            }
        }
    }

    function _checkFresh(Share[] calldata shares, Commit[] calldata commits) private pure {
        for (uint256 n = 0; n < commits.length; ++n) {
            for (uint256 i = 0; i < shares.length; ++i) {
                if (shares[i].operatorOf() == commits[n].operator) {
                    revert Court_NotFresh(commits[n].operator);
                }
            }
        }
    }

    // --- closing ------------------------------------------------------------------------------

    /// @dev How the panel ended; all zero if nobody took it to the road, and can no longer.
    function _verdictOf(bytes32 panelJob, Panel calldata panel)
        private
        view
        returns (Verdict memory verdict)
    {
        verdict = _verdicts[panelJob];
        if (verdict.endedAt != 0) return verdict;
        if (ROAD.jobs(panelJob).state != RoadState.None) revert Court_PanelOpen(panelJob);
        if (block.timestamp <= panel.expiry) revert Court_TooEarly(panel.expiry);
    }

    /// @dev Who was right, by the output that the panel's tag was made of.
    function _compare(Matter calldata matter, bytes32 job, Opening[] calldata openings, bytes32 digest)
        private
        pure
        returns (Findings memory findings)
    {
        uint256 next = 0;
        bool asked = false;
        for (uint256 i = 0; i < matter.shares.length; ++i) {
            bool won = matter.shares[i].kindOf() == ShareKind.Won;
            if (won && asked) continue; // all winners said the same
            if (!won && matter.shares[i].amountOf() == 0) continue;
            if (next == openings.length) revert Court_OpeningWrong(i);
            bool right = _isOf(job, digest, _tagOf(matter, job, openings[next++], i));
            if (won) findings.contradicted = !right;
            else if (right) findings.returned |= 2 ** i;
            asked = asked || won;
        }
    }

    /// @dev The tag that a replica committed to, by its opening.
    function _tagOf(Matter calldata matter, bytes32 job, Opening calldata opening, uint256 i)
        private
        pure
        returns (bytes32)
    {
        if (opening.index != i) revert Court_OpeningWrong(i);
        bytes32 opened = TypedData.hashCommitment(
            job, matter.shares[i].operatorOf(), opening.tag, opening.secs, opening.salt
        );
        if (opened != matter.commitments[i]) revert Court_OpeningWrong(i);
        return opening.tag;
    }

    /// @dev Whether a tag is of this output, in whichever round it was made. Votes are equal when 28 bytes are.
    function _isOf(bytes32 job, bytes32 digest, bytes32 tag) private pure returns (bool found) {
        uint256 rounds = Parameters.ROUNDS;
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, job)
            mstore(add(words, 0x40), digest)
            for { let round := 0 } lt(round, rounds) { round := add(round, 1) } {
                mstore(add(words, 0x20), round)
                if iszero(shr(32, xor(keccak256(words, 0x60), tag))) {
                    found := 1
                    break
                }
            }
        }
    }

    /// @dev Those who said something else pay first for the panel, then for the requester's loss; what is left of a
    /// slash is the treasury's.
    function _carryOut(
        Matter calldata matter,
        Panel calldata panel,
        bytes32 job,
        Findings memory findings,
        uint64 cost,
        uint64 left
    ) private {
        uint64 final_ = _carryOutHeld(matter, job, findings.returned);
        uint64 slashed = _judgeWinners(matter, job, findings.contradicted);
        uint64 covered = slashed < cost ? slashed : cost;
        uint64 refund = _jobCost(matter);
        if (refund > slashed - covered) refund = slashed - covered;
        uint64 returned = left + covered;
        emit CaseClosed(job, final_, refund, returned);
        if (covered + refund != 0) VAULT.collect(TREASURY, covered + refund);
        if (refund != 0) VAULT.refund(matter.order.requester, matter.order.scheduler, refund);
        if (panel.kind == PanelKind.Audit) _raise(matter.order.scheduler, returned);
        else VAULT.pay(panel.payer, returned);
    }

    /// @dev Gives back what was slashed from those who were right; the rest is the treasury's.
    function _carryOutHeld(Matter calldata matter, bytes32 job, uint256 returned)
        private
        returns (uint64 final_)
    {
        Share[] memory back = new Share[](matter.shares.length);
        uint256 count = 0;
        for (uint256 i = 0; i < back.length; ++i) {
            Share share = matter.shares[i];
            (address operator, uint64 amount) = (share.operatorOf(), share.amountOf());
            if (share.kindOf() != ShareKind.Slashed || amount == 0) continue;
            if (returned >> i & 1 == 0) {
                final_ += amount;
            } else {
                back[count++] = toShare(operator, amount, ShareKind.Returned);
                emit SlashReturned(job, operator, amount);
            }
        }
        _distribute(back, count, 0);
        if (final_ != 0) VAULT.pay(TREASURY, final_);
    }

    /// @dev Lets go of the winners' stake that the case holds, and slashes all of them if they were contradicted.
    function _judgeWinners(Matter calldata matter, bytes32 job, bool contradicted)
        private
        returns (uint64 slashed)
    {
        Share[] memory backed = new Share[](matter.shares.length);
        Share[] memory others = new Share[](matter.shares.length);
        (uint256 backedCount, uint256 otherCount) = (0, 0);
        for (uint256 i = 0; i < backed.length; ++i) {
            if (matter.shares[i].kindOf() != ShareKind.Won) continue;
            address operator = matter.shares[i].operatorOf();
            Share share = contradicted
                ? toShare(operator, matter.order.bond, ShareKind.Slashed)
                : toShare(operator, 0, ShareKind.Effort);
            if (_isBacked(matter, i)) backed[backedCount++] = share;
            else if (contradicted) others[otherCount++] = share;
        }
        uint64[] memory fromBacked = _distribute(backed, backedCount, matter.order.bond);
        uint64[] memory fromOthers = _distribute(others, otherCount, 0);
        if (!contradicted) return 0;
        return _tell(job, backed, fromBacked) + _tell(job, others, fromOthers);
    }

    function _distribute(Share[] memory shares, uint256 count, uint64 unlocked)
        private
        returns (uint64[] memory moved)
    {
        assembly ("memory-safe") {
            mstore(shares, count)
        }
        if (count != 0) moved = VAULT.distribute(shares, unlocked);
    }

    function _tell(bytes32 job, Share[] memory shares, uint64[] memory moved) private returns (uint64 sum) {
        for (uint256 i = 0; i < shares.length; ++i) {
            emit WinnerSlashed(job, shares[i].operatorOf(), moved[i]);
            sum += moved[i];
        }
    }

    /// @dev What the requester paid for a job that was agreed on.
    function _jobCost(Matter calldata matter) private pure returns (uint64 cost) {
        cost = matter.order.fee;
        for (uint256 i = 0; i < matter.shares.length; ++i) {
            if (matter.shares[i].kindOf() == ShareKind.Won) cost += matter.shares[i].amountOf();
        }
    }

    // --- stake and funds for audits -----------------------------------------------------------

    /// @dev Has every winner's stake answer for its pay, and puts the fee into the fund. A winner without stake is not
    /// paid: otherwise the one stake of a cheat would pay for as many lies as it can tell at once.
    function _secure(Referral calldata referral, Share[] memory shares) private {
        uint64 withheld = 0;
        for (uint256 i = 0; i < shares.length; ++i) {
            if (shares[i].kindOf() != ShareKind.Won || shares[i].amountOf() == 0) continue;
            (address operator, uint64 amount) = (shares[i].operatorOf(), shares[i].amountOf());
            if (_pledge(operator, referral.bond)) continue;
            shares[i] = toShare(operator, 0, ShareKind.Won);
            withheld += amount;
            emit PayWithheld(referral.job, operator, amount);
            VAULT.collect(operator, amount);
        }
        if (withheld != 0) VAULT.refund(referral.requester, referral.scheduler, withheld);
        if (referral.fee == 0) return;
        _raise(referral.scheduler, referral.fee);
        VAULT.collect(referral.scheduler, referral.fee);
    }

    /// @dev Locks stake for one job until it can no longer be drawn, if there is enough; what has expired goes first.
    function _pledge(address operator, uint64 amount) private returns (bool) {
        (Pledges memory pledges, uint64 expired) = pledgesOf(operator);
        Account memory books = VAULT.account(operator);
        if (books.bond - books.locked + expired < amount) return false;
        pledges.current += amount;
        _pledges[operator] = pledges;
        if (amount > expired) VAULT.lock(operator, amount - expired);
        else if (amount < expired) _letGo(operator, expired - amount);
        return true;
    }

    /// @dev Takes what was pledged in an epoch out of the pledges, and leaves it locked.
    function _unpledge(address operator, uint64 amount, uint40 epoch) private {
        (Pledges memory pledges, uint64 expired) = pledgesOf(operator);
        if (epoch == pledges.epoch) pledges.current -= amount;
        else pledges.previous -= amount;
        _pledges[operator] = pledges;
        if (expired != 0) _letGo(operator, expired);
    }

    function _letGo(address operator, uint64 amount) private {
        Share[] memory shares = new Share[](1);
        shares[0] = toShare(operator, 0, ShareKind.Effort);
        VAULT.distribute(shares, amount);
    }

    function _raise(address scheduler, uint64 amount) private {
        Fund memory fund = fundOf(scheduler);
        fund.current += amount;
        _funds[scheduler] = fund;
    }

    /// @dev The oldest goes first: what could leave is spent before what other jobs' audits may need.
    function _spend(address scheduler, uint64 amount) private {
        Fund memory fund = fundOf(scheduler);
        uint256 there = uint256(fund.settled) + fund.previous + fund.current;
        if (there < amount) revert Court_FundTooSmall(scheduler, there, amount);
        uint64 part = amount < fund.settled ? amount : fund.settled;
        fund.settled -= part;
        amount -= part;
        part = amount < fund.previous ? amount : fund.previous;
        fund.previous -= part;
        fund.current -= amount - part;
        _funds[scheduler] = fund;
    }

    function _epochOf(uint256 time) private pure returns (uint40) {
        return (time / Parameters.AUDIT_EPOCH).toUint40();
    }

    function _seedOf(uint256 seedBlock) private view returns (bytes32 seed) {
        seed = Blockhash.blockHash(seedBlock);
        if (seed == 0) revert Court_SeedUnknown(seedBlock);
    }

    // --- shares -------------------------------------------------------------------------------

    function _agreed(Share[] memory shares) private pure returns (bool) {
        for (uint256 i = 0; i < shares.length; ++i) {
            if (shares[i].kindOf() == ShareKind.Won) return true;
        }
        return false;
    }

    /// @dev What was slashed and is not final.
    function _heldOf(Share[] memory shares) private pure returns (uint64 held) {
        for (uint256 i = 0; i < shares.length; ++i) {
            if (shares[i].kindOf() == ShareKind.Slashed) held += shares[i].amountOf();
        }
    }

    /// @dev Whether stake was locked for a replica: that of all winners of a job with audits who were paid.
    function _isBacked(Matter calldata matter, uint256 i) private pure returns (bool) {
        if (matter.order.auditBps == 0 || matter.shares[i].kindOf() != ShareKind.Won) return false;
        return matter.shares[i].amountOf() != 0;
    }

    // --- identities ---------------------------------------------------------------------------

    /// @dev A case whose panel was called, as its caller says that it stands.
    function _loadCalled(Matter calldata matter, Panel calldata panel) private view returns (bytes32 job) {
        job = _jobOf(matter.order);
        Case memory case_ = _cases[job];
        if (case_.state != CaseState.Called) revert Court_NotOpen(job);
        if (case_.context != _calledContext(_contextOf(matter), panel)) revert Court_ContextWrong(job);
    }

    function _contextOf(Matter calldata matter) private pure returns (bytes25) {
        return _context(keccak256(abi.encodePacked(matter.commitments)), matter.shares, matter.enteredIn);
    }

    function _context(bytes32 commits, Share[] memory shares, uint256 enteredIn)
        private
        pure
        returns (bytes25)
    {
        return bytes25(keccak256(abi.encode(commits, shares, enteredIn)));
    }

    function _calledContext(bytes25 context, Panel memory panel) private pure returns (bytes25) {
        return bytes25(keccak256(abi.encode(context, panel)));
    }

    /// @dev As Market has it. Made anew each time: a fork of the chain has another domain.
    function _jobOf(Order memory order) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(
            TypedData.domainSeparator(address(MARKET)), TypedData.hashOrderInMemory(order)
        );
    }

    /// @param own The order of the job itself, which it turns into the panel's.
    function _panelOrder(Order memory own, Panel memory panel) private view returns (Order memory) {
        // One panel for a job.
        own.nonce = uint256(_jobOf(own));
        own.requester = address(this);
        own.scheduler = NOBODY;
        own.fee = 0;
        own.quorum = own.replicas + 1;
        own.replicas += own.quorum;
        own.maxTicket = uint8(Parameters.PANEL_TICKET);
        own.seedBlock = panel.seedBlock;
        own.expiry = panel.expiry;
        own.auditBps = 0;
        own.escalate = false;
        return own;
    }

    function _tag(bytes32 panelJob, bytes32 digest) private pure returns (bytes32) {
        return keccak256(abi.encode(panelJob, PANEL_ROUND, digest));
    }

    /// @dev Books count in 64 bits.
    function _cost(Order calldata order) private pure returns (uint64) {
        uint256 cost = panelCost(order);
        if (cost > type(uint64).max) revert Court_CostTooHigh(cost);
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint64(cost);
    }
}
