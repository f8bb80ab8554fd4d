// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice One operator's part in a settled job, in one word: operator (160) | amount (64) | kind (8).
/// @dev One word rather than a struct of three: a batch hands hundreds of them from Market to Vault.
type Share is uint256;

/// @notice Why money moves.
enum ShareKind {
    /// In the quorum: paid, and a win.
    Won,
    /// No quorum formed: paid for its effort.
    Effort,
    /// A quorum contradicted it, or it was silent where it had promised to speak: slashed, and a fault.
    Slashed,
    /// A panel found it right after all: what it had lost comes back, and the fault is struck out.
    Returned
}

using {operatorOf, amountOf, kindOf} for Share global;

function toShare(address operator, uint64 amount, ShareKind kind) pure returns (Share) {
    return Share.wrap(uint256(uint160(operator)) | uint256(amount) << 160 | uint256(kind) << 224);
}

function operatorOf(Share share) pure returns (address) {
    // The low 160 bits are the operator.
    // forge-lint: disable-next-line(unsafe-typecast)
    return address(uint160(Share.unwrap(share)));
}

function amountOf(Share share) pure returns (uint64) {
    // Truncation is the extraction.
    // forge-lint: disable-next-line(unsafe-typecast)
    return uint64(Share.unwrap(share) >> 160);
}

function kindOf(Share share) pure returns (ShareKind) {
    return ShareKind(Share.unwrap(share) >> 224);
}
