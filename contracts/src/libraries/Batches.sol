// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Opened, Vote} from "../types/Opened.sol";
import {Order} from "../types/Orders.sol";
import {SeedOf} from "../types/Seats.sol";
import {Parameters} from "./Parameters.sol";
import {Words, newWords} from "./Words.sol";

/// @notice The receipts of one transaction while they are judged.
struct Batch {
    /// The EIP-712 domain separator.
    bytes32 domain;
    /// The ids of the jobs that are good so far, and what each does to the books (`Records`).
    Words jobs;
    Words records;
    /// What Providers has to confirm: `SeatClaim`s, seeds, and pairs of operator and signer.
    Words claims;
    SeedOf[] seeds;
    uint256 seedCount;
    Words keys;
    /// The distinct operators, and for each the number of its newest pair in `keys`, plus one.
    Words operators;
    Words newestKeys;
    /// For each job the reason why it is not good after all.
    bytes4[] reasons;
    uint256 failed;
    /// Who signs once for the whole batch, if anybody.
    Signed[] payers;
    Signed[] revealers;
    /// For each job its place in `payers`.
    Words payerOf;
    /// Room for the votes of one tally.
    uint256[] tally;
}

/// @notice Somebody's one signature over a list of struct hashes.
struct Signed {
    address party;
    bytes32 r;
    bytes32 vs;
    Words hashes;
}

/// @notice Making and filling batches.
library Batches {
    /// @param seeds Room for those of all receipts, none of them used yet.
    function create(
        bytes32 domain,
        uint256 receipts,
        uint256 replicas,
        uint256 operators,
        SeedOf[] memory seeds
    ) internal pure returns (Batch memory batch) {
        batch.domain = domain;
        batch.jobs = newWords(receipts);
        // Five words before the shares of a job, and its fee after them.
        batch.records = newWords(replicas + 6 * receipts);
        batch.claims = newWords(replicas);
        batch.seeds = seeds;
        batch.keys = newWords(2 * (replicas + operators));
        batch.operators = newWords(operators);
        batch.newestKeys = newWords(operators);
        batch.reasons = new bytes4[](receipts);
        batch.payerOf = newWords(receipts);
        batch.tally = new uint256[](Parameters.MAX_REPLICAS);
    }

    /// @notice Room for one receipt.
    function createOpened() internal pure returns (Opened memory opened) {
        opened.votes = new Vote[](Parameters.MAX_REPLICAS);
    }

    /// @notice The place of an operator, which is a new one if it has none.
    /// @dev A search from the start: forms for large batches bring the operators in a table.
    function placeOf(Batch memory batch, address operator) internal pure returns (uint256 place) {
        uint256 count = batch.operators.count();
        for (place = 0; place < count; ++place) {
            if (batch.operators.get(place) == uint160(operator)) return place;
        }
        enter(batch, operator);
    }

    /// @notice Gives an operator the next place.
    function enter(Batch memory batch, address operator) internal pure {
        batch.operators.push(uint160(operator));
        batch.newestKeys.push(0);
    }

    /// @notice The place of an order's seed. Receipts that follow each other share it.
    function seedOf(Batch memory batch, Order memory order) internal pure returns (uint256 place) {
        place = batch.seedCount;
        if (place != 0) {
            SeedOf memory last = batch.seeds[place - 1];
            if (last.hardwareClass == order.hardwareClass && last.seedBlock == order.seedBlock) {
                return place - 1;
            }
        }
        batch.seeds[place] = SeedOf(order.hardwareClass, order.seedBlock);
        batch.seedCount = place + 1;
    }

    /// @notice The place of an operator's key, which is a new one unless it is the last that signed.
    function keyOf(Batch memory batch, uint256 operatorPlace, address operator, address signer)
        internal
        pure
        returns (uint256 place)
    {
        uint256 next = batch.newestKeys.get(operatorPlace);
        if (next != 0 && batch.keys.get(2 * next - 1) == uint160(signer)) return next - 1;
        place = batch.keys.count() / 2;
        batch.keys.push(uint160(operator));
        batch.keys.push(uint160(signer));
        batch.newestKeys.set(operatorPlace, place + 1);
    }

    /// @notice Adds a struct hash to what somebody signs once.
    function list(Signed memory signed, bytes32 hash) internal pure {
        if (signed.hashes.isFull()) revert IMarket.Market_PackedTooManyFor(signed.party);
        signed.hashes.push(uint256(hash));
    }

    /// @notice The seeds, without the room left for more.
    function takeSeeds(Batch memory batch) internal pure returns (SeedOf[] memory seeds) {
        seeds = batch.seeds;
        uint256 count = batch.seedCount;
        assembly ("memory-safe") {
            mstore(seeds, count)
        }
    }

    /// @notice The job at this place is not good after all; the first reason stays.
    function fail(Batch memory batch, uint256 job, bytes4 reason) internal pure {
        if (batch.reasons[job] != 0) return;
        batch.reasons[job] = reason;
        ++batch.failed;
    }
}
