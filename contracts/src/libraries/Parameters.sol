// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Every number that the market runs on, and why it has the value it has.
/// @dev Times are in seconds. They hold together: HORIZON <= NOTICE (a budget outlives the orders on it),
/// HORIZON <= SIGNER_DELAY (one former key at most can have receipts in flight), and
/// SEED_WINDOW + SEED_LIFE < UNBONDING (stake outlives the jobs it was drawn for). A test pins all three.
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
    /// just before: at most SEED_WINDOW until its seed is kept and SEED_LIFE from then on.
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
}
