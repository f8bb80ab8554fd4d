// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Account, Budget} from "../types/Accounts.sol";
import {Share} from "../types/Share.sol";
import {Sums} from "../types/Sums.sol";

/// @title The money of the market
/// @notice Holds one ERC-20 and keeps everybody's books in micro-USD. Tokens move only on deposit and withdrawal.
/// @dev No owner, no proxy, no pause: Market alone posts settlements, Providers alone moves stake, and a module (a
/// contract named at deployment, such as Road) pays out only what was put into its own escrow.
interface IVault {
    /// @notice `amount` micro-USD arrived from `from` for `account`.
    event Deposited(address indexed from, address indexed account, uint64 amount);
    /// @notice `account` took out `amount` micro-USD.
    event Withdrawn(address indexed account, address indexed to, uint64 amount);
    /// @notice A requester added `amount` to a budget, which is open again if it was closing.
    event BudgetFunded(address indexed requester, address indexed scheduler, uint64 amount);
    /// @notice A requester gave notice; the budget pays until `closesAt` at least.
    event BudgetClosed(address indexed requester, address indexed scheduler, uint48 closesAt);
    /// @notice A requester took back what was left of a closed budget.
    event BudgetReclaimed(address indexed requester, address indexed scheduler, uint64 amount);
    /// @notice `amount` of an operator's free money became stake.
    event StakeBonded(address indexed operator, uint64 amount);
    /// @notice `amount` of an operator's stake became free.
    event StakeReleased(address indexed operator, uint64 amount);
    /// @notice What one batch of settled jobs paid an operator and took from its stake, and for how many replicas.
    event OperatorSettled(address indexed operator, Sums sums);

    error Vault_BudgetTooSmall(address requester, address scheduler, uint64 amount, uint64 needed);
    error Vault_BudgetNotOpen(address requester, address scheduler);
    error Vault_BudgetStillOpen(address requester, address scheduler, uint48 closesAt);
    error Vault_Full(uint256 total);
    error Vault_InsufficientFree(address account, uint64 free, uint64 amount);
    error Vault_NonceSpent(address requester, uint256 nonce);
    error Vault_NotMarket(address caller);
    error Vault_NotModule(address caller);
    error Vault_NotProviders(address caller);
    error Vault_StakeLocked(address operator, uint64 available, uint64 needed);
    error Vault_TooFewDecimals(uint8 decimals);

    /// @notice Pays `amount` micro-USD of the caller's tokens into the account of `to`.
    /// @dev Credits what arrives, which is less for a token that charges for transfers.
    function deposit(address to, uint64 amount) external;

    /// @notice Like `deposit`, with an EIP-2612 permit of the caller in the same transaction.
    /// @dev A permit that somebody else already brought does no harm: what matters is the allowance.
    function depositWithPermit(address to, uint64 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;

    /// @notice Sends `amount` micro-USD of the caller's free money to `to`.
    function withdraw(address to, uint64 amount) external;

    /// @notice Sets aside `amount` of the caller's free money for the orders of `scheduler`; reopens a closing budget.
    function fund(address scheduler, uint64 amount) external;

    /// @notice Gives notice that the caller wants a budget back; it keeps paying for NOTICE seconds.
    function close(address scheduler) external;

    /// @notice Frees what is left of a budget whose notice is over.
    function reclaim(address scheduler) external;

    /// @notice Posts a batch of settled jobs, each whole or not at all; called by Market only.
    /// @param jobs How many there are.
    /// @param operators How many distinct operators their shares name; each has a place of its own below that.
    /// @param records What each job does, in order, as `Records` says: later ones see what earlier ones spent.
    /// @return refusals The jobs that moved nothing: number of the job << 8 | `Refusal`.
    /// @return slashes What was really taken for each share to be slashed, in order, without those of refused jobs; a
    /// slash ends at the operator's stake.
    function post(uint256 jobs, uint256 operators, uint256[] calldata records)
        external
        returns (uint256[] memory refusals, uint256[] memory slashes);

    /// @notice Turns free money of `operator` into stake; called by Providers only.
    function bond(address operator, uint64 amount) external;

    /// @notice Turns stake of `operator` into free money; called by Providers only.
    function release(address operator, uint64 amount) external;

    /// @notice Moves `amount` of a budget into the calling module's escrow and spends the order's nonce.
    function reserve(address requester, address scheduler, uint256 nonce, uint64 amount) external;

    /// @notice Moves `amount` of a calling module's escrow back into a budget, also into one that is closing.
    function refund(address requester, address scheduler, uint64 amount) external;

    /// @notice Moves `amount` of somebody's free money into the calling module's escrow.
    function collect(address from, uint64 amount) external;

    /// @notice Moves `amount` of a calling module's escrow into somebody's free money.
    function pay(address to, uint64 amount) external;

    /// @notice Holds `amount` of an operator's stake that nothing else holds yet.
    function lock(address operator, uint64 amount) external;

    /// @notice Lets go of `unlocked` of the stake of each share's operator, then pays it from the calling module's
    /// escrow or slashes it to the treasury, as its kind says.
    /// @return moved What was really paid or slashed for each share; a slash ends at the operator's stake.
    function distribute(Share[] calldata shares, uint64 unlocked) external returns (uint64[] memory moved);

    /// @notice The books of one party.
    function account(address who) external view returns (Account memory);

    /// @notice What `requester` set aside for `scheduler`.
    function budget(address requester, address scheduler) external view returns (Budget memory);

    /// @notice Until when that budget is sure to pay, in Unix seconds: an order may be accepted if it expires by then.
    function budgetPaysUntil(address requester, address scheduler) external view returns (uint256);

    /// @notice Whether an order's nonce is spent.
    function nonceUsed(address requester, uint256 nonce) external view returns (bool);

    /// @notice What a module holds of others' money.
    function escrow(address module) external view returns (uint64);

    /// @notice Whether a contract is a module of this Vault.
    function isModule(address module) external view returns (bool);

    /// @notice All money in the books: every account's free and bond, every budget, every module's escrow.
    function total() external view returns (uint64);

    /// @notice The token held.
    function token() external view returns (IERC20);

    /// @notice Receives what is slashed.
    function treasury() external view returns (address);

    /// @notice The one contract that may move stake.
    function providers() external view returns (address);

    /// @notice The one contract that may post settlements.
    function market() external view returns (address);
}
