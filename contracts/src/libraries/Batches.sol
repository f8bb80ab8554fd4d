// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IMarket} from "../interfaces/IMarket.sol";
import {Opened, Vote} from "../types/Opened.sol";
import {Parameters} from "./Parameters.sol";
import {Records} from "./Records.sol";
import {Words, newWords} from "./Words.sol";

/// @notice The receipts of one transaction while they are judged.
struct Batch {
    /// The EIP-712 domain separator.
    bytes32 domain;
    /// How many jobs are good so far, and what each does to the books (`Records`).
    uint256 jobs;
    Words records;
    /// What Providers has to confirm: jobs and claims (`IProviders.checkBatch`), keys, and seeds.
    Words claims;
    Words keys;
    Words seeds;
    /// The distinct operators, and for each the number of its newest pair in `keys`, plus one.
    Words operators;
    Words newestKeys;
    /// Who signs once for the whole batch, if anybody, and for each job its place in `payers`.
    Signed[] payers;
    Signed[] revealers;
    Words payerOf;
    /// For each job why it is not good after all; empty as long as all are.
    bytes4[] reasons;
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

/// @notice How large a batch can become.
struct Sizes {
    uint256 receipts;
    uint256 replicas;
    uint256 operators;
    uint256 seeds;
}

/// @notice Making and filling batches.
library Batches {
    function create(bytes32 domain, Sizes memory sizes) internal pure returns (Batch memory batch) {
        batch.domain = domain;
        // Beside its replicas a job has a head and its fee, or its id.
        batch.records = newWords(sizes.replicas + (Records.HEAD_WORDS + 1) * sizes.receipts);
        batch.keys = newWords(2 * (sizes.replicas + sizes.operators));
        batch.seeds = newWords(2 * sizes.seeds);
        // Keys and seeds follow the claims in the end.
        batch.claims = newWords(sizes.receipts + 3 * sizes.replicas + 2 * sizes.operators + 2 * sizes.seeds);
        batch.operators = newWords(sizes.operators);
        batch.newestKeys = newWords(sizes.operators);
        batch.payerOf = newWords(sizes.receipts);
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

    /// @notice The place of a seed. Receipts that follow each other share it.
    function seedOf(Batch memory batch, bytes32 hardwareClass, uint256 seedBlock)
        internal
        pure
        returns (uint256 place)
    {
        Words memory seeds = batch.seeds;
        uint256 words = seeds.count();
        if (words != 0 && seeds.get(words - 2) == uint256(hardwareClass) && seeds.get(words - 1) == seedBlock)
        {
            return words / 2 - 1;
        }
        seeds.push(uint256(hardwareClass));
        seeds.push(seedBlock);
        return words / 2;
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

    /// @notice The job at this place is not good after all; the first reason stays.
    function fail(Batch memory batch, uint256 job, bytes4 reason) internal pure {
        if (batch.reasons.length == 0) batch.reasons = new bytes4[](batch.jobs);
        if (batch.reasons[job] == 0) batch.reasons[job] = reason;
    }
}
