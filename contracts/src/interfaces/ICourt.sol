// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Case, Fund, Matter, Panel, PanelKind, Pledges, Referral, Verdict} from "../types/Courts.sol";
import {Order} from "../types/Orders.sol";
import {Commit, Entry, Opening} from "../types/Roads.sol";
import {Share} from "../types/Share.sol";
import {IMarket} from "./IMarket.sol";
import {IProviders} from "./IProviders.sol";
import {IRoad} from "./IRoad.sol";
import {IVault} from "./IVault.sol";

/// @title Jobs that fresh operators run again
/// @notice A panel of 2k + 1 operators who had no part in a job of k replicas runs it again on the on-chain road. It is
/// called by whoever says that a slash was wrong (an appeal), by a later block's hash (an audit) or where no quorum
/// formed and the order allows it (an escalation). Its verdict is final.
/// @dev A panel is a job of Road whose requester is this contract. What a step needs beside the one slot of a case is
/// supplied again by its caller, from the events and the call data of the earlier steps. No step but `enter` and
/// `conclude` depends on its sender, except for whose money pays.
interface ICourt {
    /// @notice A decided job concerns the court: something was slashed, it may be audited, or it may be escalated.
    /// @param commits keccak256 of the commitments of all replicas, by rising ticket.
    /// @param shares What each replica's operator was paid or lost. What was slashed lies here until it is final; an
    /// amount of zero is final already.
    event JobEntered(bytes32 indexed job, bytes32 commits, Share[] shares);
    /// @notice A winner of a job that may be audited had too little free stake to answer for it: its pay went back to
    /// the requester.
    event PayWithheld(bytes32 indexed job, address indexed operator, uint64 amount);
    /// @notice Fresh operators run the job again, as `panelJob`; they commit until `expiry` (Unix seconds) at least.
    event PanelCalled(
        bytes32 indexed job,
        bytes32 indexed panelJob,
        PanelKind kind,
        address payer,
        uint64 seedBlock,
        uint64 expiry
    );
    /// @notice What an operator lost came back to its free money, and its fault was struck out.
    event SlashReturned(bytes32 indexed job, address indexed operator, uint64 amount);
    /// @notice A winner that the panel contradicted lost `amount`: the order's bond, or all the stake that it had left.
    event WinnerSlashed(bytes32 indexed job, address indexed operator, uint64 amount);
    /// @notice A case is over.
    /// @param final_ What was slashed when the job was decided, and is the treasury's now.
    /// @param refund What the requester got back: of the job's cost, or of what an escalation had set aside.
    /// @param returned What went back to who paid for the panel.
    event CaseClosed(bytes32 indexed job, uint64 final_, uint64 refund, uint64 returned);
    /// @notice A scheduler's fund for audits grew.
    event FundRaised(address indexed scheduler, address indexed from, uint64 amount);
    /// @notice A scheduler took what no audit can need any more.
    event FundWithdrawn(address indexed scheduler, uint64 amount);
    /// @notice The hash of a block that draws audits was kept.
    event AuditSeedKept(uint256 indexed seedBlock, bytes32 seed);

    error Court_ContextWrong(bytes32 job);
    error Court_CostTooHigh(uint256 cost);
    error Court_DigestWrong(bytes32 digest);
    error Court_FeeTooSmall(uint64 fee, uint256 needed);
    error Court_FundTooSmall(address scheduler, uint256 amount, uint256 needed);
    error Court_NotDrawn(bytes32 job);
    error Court_NotFresh(address operator);
    error Court_NotJudge(address caller);
    error Court_NotOpen(bytes32 job);
    error Court_NothingHeld(bytes32 job);
    error Court_OpeningWrong(uint256 index);
    error Court_PanelOpen(bytes32 panelJob);
    error Court_SeedUnknown(uint256 seedBlock);
    error Court_TooEarly(uint256 until);
    error Court_TooLate(uint256 until);
    error Court_WiredToOther();

    /// @notice Takes in a job that was just decided; called by Market and Road in the same transaction.
    /// @dev Reverts for nothing that a stranger can put into a job: one job must not stop a batch.
    /// @param shares What each replica's operator was paid, or what it really lost where that is not final. The
    /// treasury holds the latter, the scheduler the fee and the operators their pay until this call.
    function enter(Referral calldata referral, Share[] calldata shares) external;

    /// @notice Takes in how a panel ended; called by Road.
    function conclude(bytes32 panelJob, bytes32 tag, bool agreed, uint64 cost) external;

    /// @notice Calls a panel for a job in which somebody was slashed, within APPEAL_WINDOW. The caller sets aside the
    /// panel's worst cost from its free money, and gets it back if the panel contradicts the winners.
    function appeal(Matter calldata matter) external;

    /// @notice Calls a panel for a job that its audit block drew, within APPEAL_WINDOW, from its scheduler's fund. The
    /// order's fee must be its share of that: auditBps of the panel's worst cost.
    function audit(Matter calldata matter) external;

    /// @notice Calls a panel for a job without a quorum whose order allows it, within APPEAL_WINDOW, from its
    /// requester's budget.
    function escalate(Matter calldata matter) external;

    /// @notice Brings signed commits to a panel: the first take it to the road. Operators of the job itself are refused.
    /// Round 0 is a panel's only one.
    function join(
        Matter calldata matter,
        Panel calldata panel,
        Entry[] calldata entries,
        Commit[] calldata commits
    ) external;

    /// @notice Ends a case whose panel is over, or was never joined.
    /// @dev With a quorum of the panel, `digest` is the output that its tag was made of. Whoever was right can show
    /// that it is the same as its own. If nobody has shown it PROOF_WINDOW after the verdict, the case may be closed
    /// without: slashes stand, and the winners of a job that may be audited are taken to be contradicted.
    /// @param openings One winner's and those of everybody whose slash is held, by rising index; none where no digest
    /// is needed.
    /// @param digest The output digest; zero where none is needed.
    function close(Matter calldata matter, Panel calldata panel, Opening[] calldata openings, bytes32 digest)
        external;

    /// @notice Ends a case for which no panel was called in time: what is held is the treasury's.
    function release(Matter calldata matter) external;

    /// @notice Keeps the hash of a block that draws audits past the chain's own memory.
    function keepSeed(uint256 seedBlock) external;

    /// @notice Adds `amount` of the caller's free money to a scheduler's fund for audits.
    function topUp(address scheduler, uint64 amount) external;

    /// @notice Pays a scheduler what its fund has held for longer than any audit can need it.
    function withdraw(address scheduler) external;

    /// @notice Lets go of stake that an operator had locked for jobs that can no longer be drawn for an audit.
    function unlock(address operator) external;

    /// @notice A job's case; all zero if it has none or is over.
    function caseOf(bytes32 job) external view returns (Case memory);

    /// @notice How a panel ended; all zero before it has, and after its case was closed.
    function verdictOf(bytes32 panelJob) external view returns (Verdict memory);

    /// @notice A scheduler's fund, as of now.
    function fundOf(address scheduler) external view returns (Fund memory);

    /// @notice What an operator has locked for jobs that may still be drawn, and what `unlock` would let go.
    function pledgesOf(address operator) external view returns (Pledges memory pledges, uint64 expired);

    /// @notice The block whose hash draws the jobs that were entered in a block.
    function auditBlock(uint64 enteredIn) external pure returns (uint256);

    /// @notice Whether a job was drawn for an audit; reverts while nobody can know.
    function isDrawn(bytes32 job, uint64 enteredIn, uint16 auditBps) external view returns (bool);

    /// @notice The order of a panel: what its operators run, and commit to by its job id.
    function panelOrder(Order calldata order, Panel calldata panel) external view returns (Order memory);

    /// @notice The most that a panel for an order can cost.
    function panelCost(Order calldata order) external pure returns (uint256);

    /// @notice The contract that holds the money.
    function vault() external view returns (IVault);

    /// @notice The contract that draws operators.
    function providers() external view returns (IProviders);

    /// @notice The contract that settles receipts.
    function market() external view returns (IMarket);

    /// @notice The contract that panels are run on.
    function road() external view returns (IRoad);
}
