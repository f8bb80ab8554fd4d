// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Every number that the market runs on, and why it has the value it has.
/// @dev Times are in seconds. They hold together: HORIZON <= NOTICE (a budget outlives the orders on it),
/// HORIZON <= SIGNER_DELAY (one former key at most can have receipts in flight),
/// SEED_WINDOW + SEED_LIFE + APPEAL_WINDOW + PANEL_TIME + PROOF_WINDOW < UNBONDING (stake outlives the jobs it was drawn
/// for, and what a panel says of them), and a job's life and a day are less than SCHEDULER_NOTICE. A test pins all of
/// it.
library Parameters {
    /// @dev Longest time between an order's acceptance and its expiry. Half a day lets a job of hours run and a
    /// scheduler batch through a congested afternoon; longer would tie up budgets and stakes for nothing.
    uint256 internal constant HORIZON = 12 hours;

    /// @dev A closed budget still pays for this long: every order accepted while it was open expires first,
    /// with as long again to spare for an operator who notices late.
    uint256 internal constant NOTICE = 1 days;

    /// @dev Blocks whose hash the chain itself remembers (EIP-2935).
    uint256 internal constant SEED_WINDOW_BLOCKS = 8191;

    /// @dev Longest time that SEED_WINDOW_BLOCKS take where this is meant to run: 8191 x 12 s (Ethereum), with
    /// one slot in two missed.
    uint256 internal constant SEED_WINDOW = 3 days;

    /// @dev Stake stays slashable this long after its last seat was given up. It must outlast a job that was drawn
    /// just before: at most SEED_WINDOW until its seed is kept and SEED_LIFE from then on; and then a panel that was
    /// called for that job at the last moment.
    uint256 internal constant UNBONDING = 7 days;

    /// @dev A new signing key waits this long, so that schedulers see it coming.
    uint256 internal constant SIGNER_DELAY = 1 days;

    /// @dev A replaced key is honoured this long: what it signed while in effect expires by then.
    uint256 internal constant SIGNER_GRACE = HORIZON;

    /// @dev One seat in micro-USD (500 USD): dear enough that seats are not bought to flood a draw, and about the
    /// price of a used GPU, so that stake and hardware grow together.
    uint256 internal constant SEAT = 500e6;

    /// @dev A seat is taken from an operator whose stake is less than this per seat: half lets some slashes be
    /// made good before the seat is lost, and keeps every drawn operator worth slashing.
    uint256 internal constant SEAT_BACKING = SEAT / 2;

    /// @dev Seats of one class: the count shares a word with a kept seed, and positions are 32-bit.
    uint256 internal constant MAX_SEATS = type(uint32).max;

    /// @dev Replicas of a job: one byte of bits says who won, and one receipt stays far below the gas limit.
    uint256 internal constant MAX_REPLICAS = 8;

    /// @dev Share of rate x seconds that revealers get when no quorum forms, in 1/10,000: power was burnt, but
    /// disagreeing on purpose must not pay.
    uint256 internal constant EFFORT_BPS = 2500;

    /// @dev The one whole that EFFORT_BPS is a share of.
    uint256 internal constant BPS = 10_000;

    /// @dev What everybody has on the on-chain road to get a transaction mined, through a fee spike or a daemon's
    /// restart: operators lose their bond if they miss it. Longer would keep bonds and budgets waiting on the silent.
    uint256 internal constant ROAD_WINDOW = 2 hours;

    /// @dev A kept seed can be drawn from this long: an order expires within HORIZON, a road opened just before lets
    /// operators commit for ROAD_WINDOW more, and a receipt may still override it while they reveal.
    uint256 internal constant SEED_LIFE = HORIZON + 2 * ROAD_WINDOW;

    /// @dev How long a panel may be called for a job that was decided: somebody who sleeps, or whose node is down,
    /// still finds out. Until then what was slashed is nobody's.
    uint256 internal constant APPEAL_WINDOW = 1 days;

    /// @dev A panel gets as long to run a job as the first operators had at most, and the road's two windows.
    uint256 internal constant PANEL_TIME = HORIZON + 2 * ROAD_WINDOW;

    /// @dev How long it takes at most until somebody who was right shows the output, which only a transaction costs.
    /// Six times what the road gives for a reveal, since nobody expects it there and then.
    uint256 internal constant PROOF_WINDOW = 12 hours;

    /// @dev Operators of a panel for the largest job.
    uint256 internal constant MAX_PANEL = 2 * MAX_REPLICAS + 1;

    /// @dev How far down the draw a panel may go: as far as tickets count, since nobody chooses who comes.
    uint256 internal constant PANEL_TICKET = type(uint8).max;

    /// @dev Blocks between a panel's call and the block that draws it. Whoever calls could know the hash of the next
    /// block if it made that one too; eight in a row are no accident.
    uint256 internal constant PANEL_SEED_BLOCKS = 8;

    /// @dev Jobs that were entered in a span of this many blocks are drawn for audits by one block, between one and two
    /// spans later: one kept hash serves them all, and whoever settles cannot foresee it.
    uint256 internal constant AUDIT_SPAN_BLOCKS = 64;

    /// @dev What is pledged or put into a fund stays for one of these at least and for two at most. No job can be drawn
    /// after APPEAL_WINDOW, and once a panel is called the case holds the stake itself.
    uint256 internal constant AUDIT_EPOCH = APPEAL_WINDOW;

    /// @dev A tag of a later round has no standing at the court, so that a tag can be shown to be of another output:
    /// by trying all rounds. More than a job can have within HORIZON if each takes three minutes.
    uint256 internal constant ROUNDS = 256;

    /// @dev A scheduler's bond stays slashable this long after its notice. Providers take no order that expires
    /// later, less a day; a job of the last minute takes HORIZON and the road's two windows; the days beyond are for
    /// operators who hold one half of the evidence each to find each other.
    uint256 internal constant SCHEDULER_NOTICE = 7 days;
}
