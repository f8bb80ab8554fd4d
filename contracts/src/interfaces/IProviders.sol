// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claim, ClaimsResult, FailedClaim} from "../types/Seats.sol";
import {IVault} from "./IVault.sol";

/// @title Who may be drawn for a job, and who signs for them
/// @notice Stake buys equal seats in a hardware class; a job's tickets draw seats by the hash of its seed block.
/// @dev Seats are read as at the end of the block before the seed block: joining, leaving or resizing once the
/// seed is known changes nothing.
interface IProviders {
    /// @notice An operator bought `seats` seats.
    event Staked(address indexed operator, bytes32 indexed hardwareClass, uint256 seats);
    /// @notice An operator gave up `seats` seats; its spare stake can leave at `readyAt` (Unix seconds).
    event Unstaked(address indexed operator, bytes32 indexed hardwareClass, uint256 seats, uint256 readyAt);
    /// @notice An operator lost `seats` seats that its stake no longer covered.
    event Evicted(address indexed operator, bytes32 indexed hardwareClass, uint256 seats, uint256 readyAt);
    /// @notice An operator put `amount` behind the seats that it has.
    event ToppedUp(address indexed operator, uint64 amount);
    /// @notice An operator took back `amount` of stake that backs no seat.
    event Exited(address indexed operator, uint64 amount);
    /// @notice A seed was kept past the chain's own memory.
    event SeedKept(bytes32 indexed hardwareClass, uint256 indexed seedBlock, bytes32 seed, uint256 seats);
    /// @notice An operator named a signing key, in effect from `effectiveAt` (Unix seconds).
    event SignerSet(address indexed operator, address indexed signer, uint256 effectiveAt);

    error Providers_ClassFull(bytes32 hardwareClass, uint256 seats);
    error Providers_NothingToExit(address operator);
    error Providers_NoSeats();
    error Providers_SeatsCovered(address operator, uint256 seats, uint64 stake);
    error Providers_SeedUnknown(uint256 seedBlock);
    error Providers_SignerChanging(address operator, uint256 settledAt);
    error Providers_SignerTaken(address signer, address operator);
    error Providers_SignerZero();
    error Providers_StillUnbonding(address operator, uint256 readyAt);
    error Providers_TooFewSeats(address operator, bytes32 hardwareClass, uint256 held, uint256 asked);
    error Providers_WiredToOther(address providers);

    /// @notice Buys seats for the caller, SEAT micro-USD of its free money each; they count from the next block on.
    function stake(bytes32 hardwareClass, uint256 seats) external;

    /// @notice Gives up seats of the caller, newest first. Later draws miss them at once; the stake stays slashable
    /// for UNBONDING seconds after the caller last gave up a seat.
    function unstake(bytes32 hardwareClass, uint256 seats) external;

    /// @notice Adds to the caller's stake without buying a seat, to make good a slash.
    function topUp(uint64 amount) external;

    /// @notice Frees the caller's stake that backs no seat, once nothing it vouched for can still be settled.
    function exit() external;

    /// @notice Takes seats from an operator whose stake no longer covers them; anyone may.
    function evict(address operator, bytes32 hardwareClass, uint256 seats) external;

    /// @notice Keeps the hash of a recent block for SEED_LIFE seconds more; one call serves all jobs that name it.
    function keepSeed(bytes32 hardwareClass, uint256 seedBlock) external;

    /// @notice Names the key that signs for the caller. The first is in effect at once, a change after SIGNER_DELAY;
    /// the replaced key is honoured for SIGNER_GRACE more.
    /// @dev A key serves one operator and is never freed for another.
    function setSigner(address signer) external;

    /// @notice The operators that a job's tickets draw, from ticket 0 to `maxTicket`; all zero in a class without seats.
    function draw(bytes32 hardwareClass, uint256 seedBlock, bytes32 job, uint256 maxTicket)
        external
        view
        returns (address[] memory operators);

    /// @notice The operator that one ticket draws; zero in a class without seats.
    function drawTicket(bytes32 hardwareClass, uint256 seedBlock, bytes32 job, uint256 ticket)
        external
        view
        returns (address operator);

    /// @notice Whether each claimed operator was drawn and each signer speaks for it; one call for a whole receipt.
    function check(bytes32 hardwareClass, uint256 seedBlock, bytes32 job, Claim[] calldata claims)
        external
        view
        returns (ClaimsResult);

    /// @notice The same for many jobs, with one look at each seed and each key.
    /// @param claimWords How many of the words are jobs and claims.
    /// @param keys How many keys follow them.
    /// @param words For each job its id and then a `SeatClaim` for each replica, by ticket; then the keys, each an
    /// operator and who signed for it as recovered from a signature; then the seeds, each a hardware class and a block.
    /// @return failures For each job that has one, the first claim that is not good.
    function checkBatch(uint256 claimWords, uint256 keys, uint256[] calldata words)
        external
        view
        returns (FailedClaim[] memory failures);

    /// @notice The key in effect for an operator now; zero before the first.
    function signerOf(address operator) external view returns (address);

    /// @notice Whether a reveal by `signer` counts for `operator` now: its key in effect, or one in its grace.
    function isSigner(address operator, address signer) external view returns (bool);

    /// @notice The operator that a key serves, or ever served; zero if none.
    function operatorOf(address signer) external view returns (address);

    /// @notice How many seats an operator holds in a class now.
    function seatsOf(address operator, bytes32 hardwareClass) external view returns (uint256);

    /// @notice How many seats a class has now.
    function seatCount(bytes32 hardwareClass) external view returns (uint256);

    /// @notice How many seats an operator holds in all classes, and when its spare stake can leave (Unix seconds).
    function standing(address operator) external view returns (uint256 seats, uint256 readyAt);

    /// @notice The contract that holds the stake.
    function vault() external view returns (IVault);
}
