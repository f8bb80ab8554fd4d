// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Leases} from "../../src/Leases.sol";
import {Vault} from "../../src/Vault.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {IVault} from "../../src/interfaces/IVault.sol";
import {Records} from "../../src/libraries/Records.sol";
import {Lease, LeaseStatus, Terms} from "../../src/types/ServiceLeases.sol";
import {Share, ShareKind, toShare} from "../../src/types/Share.sol";
import {LeasesFixture} from "../utils/LeasesFixture.sol";
import {Vm, vm} from "../utils/Vm.sol";

/// @dev A wallet that would vouch for anything (EIP-1271), and can call.
contract SmartWallet {
    function act(address to, bytes calldata data) external {
        // solhint-disable-next-line avoid-low-level-calls
        (bool done, bytes memory answer) = to.call(data);
        if (!done) {
            assembly {
                revert(add(answer, 0x20), mload(answer))
            }
        }
    }

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }
}

/// @dev See Leases.tree.
contract LeasesTest is LeasesFixture {
    uint256 private constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint64 private constant HOUR_OF_MONEY = 3600 * 1050;

    // --- deployment ---------------------------------------------------------------------------

    function test_deploy() public view {
        assertEq(address(leases.vault()), address(vault), "its vault");
        assertEq(address(leases.providers()), address(providers), "the vault's providers");
    }

    function test_deploy_notModule() public {
        Vault other = new Vault(usd, TREASURY, address(providers), MARKET, new address[](0));
        vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_NotModule.selector, address(other)));
        new Leases(other);
    }

    /// @dev The digest put together by hand from the text of EIP-712.
    function test_leaseId() public view {
        Terms memory terms = _terms();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Assay"),
                keccak256("1"),
                block.chainid,
                address(leases)
            )
        );
        assertEq(leases.domainSeparator(), domain, "domain");
        bytes32 typehash = keccak256(
            "Terms(address requester,address operator,bytes32 spec,bytes32 hardwareClass,address scheduler,uint48 rate,uint48 feeRate,uint64 escrow,uint32 notice,uint64 startBy,uint256 nonce)"
        );
        bytes memory front = abi.encode(
            typehash, terms.requester, terms.operator, terms.spec, terms.hardwareClass, terms.scheduler
        );
        bytes memory back =
            abi.encode(terms.rate, terms.feeRate, terms.escrow, terms.notice, terms.startBy, terms.nonce);
        bytes32 digest =
            keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encodePacked(front, back))));
        assertEq(leases.leaseId(terms), digest, "digest");
    }

    /// @dev Computed by node/assay_node/protocol/service_terms.py, for the same values.
    function test_leaseId_vector() public {
        Terms memory terms = Terms({
            requester: 0x1111111111111111111111111111111111111111,
            operator: 0x2222222222222222222222222222222222222222,
            spec: bytes32(type(uint256).max / 255 * 3),
            hardwareClass: bytes32(type(uint256).max / 255 * 4),
            scheduler: 0x5555555555555555555555555555555555555555,
            rate: 6,
            feeRate: 7,
            escrow: 130,
            notice: 9,
            startBy: 10,
            nonce: type(uint256).max / 255 * 11
        });
        // The contract at another address: EIP-712 domains are computed anew there.
        address where = 0x1E1e1E1E1e1e1e1e1e1E1E1E1E1e1e1E1e1e1E1E;
        vm.etch(where, address(leases).code);
        vm.chainId(31_337);
        assertEq(
            Leases(where).leaseId(terms),
            0xf45383f09aa701e3f703b2f42898f23010902be0619c17995bd52b5ee56ce9d3,
            "the same digest"
        );
    }

    // --- start --------------------------------------------------------------------------------

    function test_start() public {
        bytes32 lease = _start(_terms());
        assertEq(_free(_requester(0)), MONEY - HOUR_OF_MONEY, "the requester's money");
        assertEq(vault.escrow(address(leases)), HOUR_OF_MONEY, "is in escrow");
        Lease memory books = leases.leaseOf(lease);
        assertEq(books.requester, _requester(0), "requester");
        assertEq(books.operator, _operator(0), "operator");
        assertEq(books.scheduler, SCHEDULER, "scheduler");
        assertEq(books.escrow, HOUR_OF_MONEY, "escrow");
        assertEq(books.notice, 600, "notice");
        assertEq(books.rate, 1000, "rate");
        assertEq(books.feeRate, 50, "fee rate");
        assertEq(books.paidUntil, time, "the clock runs from now");
        assertEq(uint256(books.status), uint256(LeaseStatus.Open), "open");
        assertEq(leases.endsAt(lease), time + 1 hours, "an hour's money");
        _assertSolvent();
    }

    function test_start_logs() public {
        Terms memory terms = _terms();
        vm.recordLogs();
        bytes32 lease = _start(terms);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "one log");
        assertEq(logs[0].topics[0], ILeases.LeaseStarted.selector, "started");
        assertEq(logs[0].topics[1], lease, "lease");
        assertEq(logs[0].topics[2], bytes32(uint256(uint160(_requester(0)))), "requester");
        assertEq(logs[0].topics[3], bytes32(uint256(uint160(_operator(0)))), "operator");
        assertEq(
            keccak256(logs[0].data),
            keccak256(abi.encode(SCHEDULER, terms.spec, 1000, 50, HOUR_OF_MONEY, 600)),
            "the rest"
        );
    }

    function test_start_signingKey() public {
        bytes32 lease = _startBetween(_terms(), REQUESTER_KEY, SIGNER_KEY);
        assertEq(uint256(_status(lease)), uint256(LeaseStatus.Open), "open");
    }

    function test_start_formerKey() public {
        vm.prank(_operator(0));
        providers.setSigner(vm.addr(SIGNER_KEY + 9));
        _pass(1 days + 12 hours);
        Terms memory terms = _terms();
        _assertRefused(terms, REQUESTER_KEY, SIGNER_KEY, ILeases.Leases_OperatorSignatureInvalid.selector);
        _startBetween(terms, REQUESTER_KEY, SIGNER_KEY + 9);
    }

    function test_start_requesterSigningKey() public {
        vm.prank(_requester(0));
        providers.setSigner(vm.addr(SIGNER_KEY + 9));
        _assertRefused(
            _terms(), SIGNER_KEY + 9, OPERATOR_KEY, ILeases.Leases_RequesterSignatureInvalid.selector
        );
    }

    function test_start_callerConsents() public {
        SmartWallet wallet = new SmartWallet();
        parties.push(address(wallet));
        _deposit(address(wallet), HOUR_OF_MONEY);
        Terms memory terms = _terms();
        terms.requester = address(wallet);
        bytes32 lease = leases.leaseId(terms);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        wallet.act(address(leases), abi.encodeCall(ILeases.start, (terms, "", operatorSig)));
        assertEq(leases.leaseOf(lease).requester, address(wallet), "the wallet's");

        terms = _terms();
        lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        vm.prank(_operator(0));
        leases.start(terms, requesterSig, "");
        assertEq(uint256(_status(lease)), uint256(LeaseStatus.Open), "the operator's own call");
        _assertSolvent();
    }

    function test_start_signatures() public {
        Terms memory terms = _terms();
        bytes4 byRequester = ILeases.Leases_RequesterSignatureInvalid.selector;
        bytes4 byOperator = ILeases.Leases_OperatorSignatureInvalid.selector;
        _assertRefused(terms, STRANGER_KEY, OPERATOR_KEY, byRequester);
        _assertRefused(terms, OPERATOR_KEY, OPERATOR_KEY, byRequester);
        _assertRefused(terms, REQUESTER_KEY, STRANGER_KEY, byOperator);
        _assertRefused(terms, REQUESTER_KEY, REQUESTER_KEY, byOperator);

        bytes32 lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        bytes[4] memory requesterForms = _otherForms(REQUESTER_KEY, lease);
        bytes[4] memory operatorForms = _otherForms(OPERATOR_KEY, lease);
        for (uint256 i = 0; i < requesterForms.length; ++i) {
            expectRevert(byRequester);
            leases.start(terms, requesterForms[i], operatorSig);
            expectRevert(byOperator);
            leases.start(terms, requesterSig, operatorForms[i]);
        }
        terms.requester = address(0);
        expectRevert(byRequester);
        leases.start(terms, "", operatorSig);
        leases.start(_terms(), requesterSig, operatorSig);
    }

    function test_start_contractSignature() public {
        SmartWallet wallet = new SmartWallet();
        _deposit(address(wallet), HOUR_OF_MONEY);
        Terms memory terms = _terms();
        terms.requester = address(wallet);
        _assertRefused(terms, STRANGER_KEY, OPERATOR_KEY, ILeases.Leases_RequesterSignatureInvalid.selector);
    }

    function test_start_tampered() public {
        _newOperator(1);
        vm.prank(_operator(1));
        providers.setSigner(vm.addr(SIGNER_KEY + 11));
        Terms memory signed = _terms();
        bytes32 lease = leases.leaseId(signed);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        for (uint256 member = 0; member < 11; ++member) {
            vm.expectRevert();
            leases.start(_changed(member), requesterSig, operatorSig);
        }
        assertEq(vault.escrow(address(leases)), 0, "nothing was taken");
        leases.start(signed, requesterSig, operatorSig);
    }

    /// @dev Whoever of the two calls is still held to what the other one signed.
    function test_start_tamperedByCaller() public {
        Terms memory signed = _terms();
        bytes memory requesterSig = _sign(REQUESTER_KEY, leases.leaseId(signed));
        bytes memory operatorSig = _sign(OPERATOR_KEY, leases.leaseId(signed));
        for (uint256 member = 2; member < 11; ++member) {
            Terms memory changed = _changed(member);
            if (member == 3) continue; // no seat there: refused before any signature
            vm.prank(_operator(0));
            expectRevert(ILeases.Leases_RequesterSignatureInvalid.selector);
            leases.start(changed, requesterSig, "");
            vm.prank(_requester(0));
            expectRevert(ILeases.Leases_OperatorSignatureInvalid.selector);
            leases.start(changed, "", operatorSig);
        }
    }

    function test_start_otherChain() public {
        Terms memory terms = _terms();
        bytes32 lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        vm.chainId(block.chainid + 1);
        expectRevert(ILeases.Leases_RequesterSignatureInvalid.selector);
        leases.start(terms, requesterSig, operatorSig);
    }

    function test_start_otherContract() public {
        Terms memory terms = _terms();
        bytes32 lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        address[] memory modules = new address[](1);
        modules[0] = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        Vault otherVault = new Vault(usd, TREASURY, address(providers), MARKET, modules);
        Leases other = new Leases(otherVault);
        expectRevert(ILeases.Leases_RequesterSignatureInvalid.selector);
        other.start(terms, requesterSig, operatorSig);
    }

    function test_start_twice() public {
        Terms memory terms = _terms();
        bytes32 lease = _start(terms);
        bytes memory used = abi.encodeWithSelector(ILeases.Leases_TermsUsed.selector, lease);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        vm.expectRevert(used);
        leases.start(terms, requesterSig, operatorSig);
        _stop(_operator(0), lease);
        vm.expectRevert(used);
        leases.start(terms, requesterSig, operatorSig);
        vm.prank(_requester(0));
        vm.expectRevert(used);
        leases.start(terms, "", operatorSig);
        _assertEnded(lease);
    }

    function test_start_again() public {
        Terms memory terms = _terms();
        bytes32 first = _start(terms);
        terms.nonce = 2;
        bytes32 second = _start(terms);
        assertTrue(first != second, "another lease");
        assertEq(vault.escrow(address(leases)), 2 * HOUR_OF_MONEY, "with money of its own");
    }

    function test_start_tooLate() public {
        Terms memory terms = _terms();
        _pass(1 hours + 1);
        _assertRevert(
            terms, abi.encodeWithSelector(ILeases.Leases_StartTooLate.selector, uint256(terms.startBy))
        );
        terms.startBy = uint64(time);
        _start(terms);
    }

    function test_start_noticeTooLong() public {
        Terms memory terms = _terms();
        terms.rate = 1;
        terms.notice = 1 days + 1;
        _assertRevert(
            terms, abi.encodeWithSelector(ILeases.Leases_NoticeTooLong.selector, 1 days + 1, 1 days)
        );
        terms.notice = type(uint32).max;
        _assertRevert(
            terms, abi.encodeWithSelector(ILeases.Leases_NoticeTooLong.selector, type(uint32).max, 1 days)
        );
        terms.notice = 1 days;
        (terms.feeRate, terms.escrow) = (0, 1 days);
        _start(terms);
    }

    function test_start_escrowTooSmall() public {
        Terms memory terms = _terms();
        terms.escrow = 600 * 1050 - 1;
        _assertRevert(
            terms, abi.encodeWithSelector(ILeases.Leases_EscrowTooSmall.selector, 600 * 1050 - 1, 600 * 1050)
        );
        terms.escrow = 600 * 1050;
        _start(terms);
    }

    function test_start_rateZero() public {
        Terms memory terms = _terms();
        terms.rate = 0;
        _assertRevert(terms, abi.encodeWithSelector(ILeases.Leases_RateZero.selector));
    }

    function test_start_feeToNobody() public {
        Terms memory terms = _terms();
        terms.scheduler = address(0);
        _assertRevert(terms, abi.encodeWithSelector(ILeases.Leases_FeeToNobody.selector));
    }

    function test_start_noSeat() public {
        Terms memory terms = _terms();
        terms.hardwareClass = keccak256("another class");
        _assertRevert(
            terms, abi.encodeWithSelector(ILeases.Leases_NoSeat.selector, _operator(0), terms.hardwareClass)
        );
        vm.prank(_operator(0));
        providers.unstake(CLASS, 1);
        _assertRevert(_terms(), abi.encodeWithSelector(ILeases.Leases_NoSeat.selector, _operator(0), CLASS));
    }

    function test_start_insufficient() public {
        Terms memory terms = _terms();
        terms.escrow = MONEY + 1;
        _assertRevert(
            terms,
            abi.encodeWithSelector(IVault.Vault_InsufficientFree.selector, _requester(0), MONEY, MONEY + 1)
        );
        assertEq(uint256(_status(leases.leaseId(terms))), uint256(LeaseStatus.None), "it may start later");
    }

    // --- cancel -------------------------------------------------------------------------------

    function test_cancel() public {
        address[3] memory callers = [_requester(0), _operator(0), vm.addr(SIGNER_KEY)];
        for (uint256 i = 0; i < callers.length; ++i) {
            Terms memory terms = _terms();
            terms.nonce = 10 + i;
            bytes32 lease = leases.leaseId(terms);
            vm.recordLogs();
            vm.prank(callers[i]);
            leases.cancel(terms);
            Vm.Log[] memory logs = vm.getRecordedLogs();
            assertEq(logs[0].topics[0], ILeases.LeaseCancelled.selector, "logged");
            assertEq(logs[0].topics[1], lease, "the lease");
            assertEq(logs[0].topics[2], bytes32(uint256(uint160(callers[i]))), "by whom");
            _assertEnded(lease);
            _assertRevert(terms, abi.encodeWithSelector(ILeases.Leases_TermsUsed.selector, lease));
        }
    }

    function test_cancel_stranger() public {
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_NotParty.selector, STRANGER));
        leases.cancel(_terms());
    }

    function test_cancel_used() public {
        Terms memory terms = _terms();
        bytes32 lease = _start(terms);
        bytes memory used = abi.encodeWithSelector(ILeases.Leases_TermsUsed.selector, lease);
        vm.prank(_requester(0));
        vm.expectRevert(used);
        leases.cancel(terms);
        terms.nonce = 2;
        vm.prank(_requester(0));
        leases.cancel(terms);
        used = abi.encodeWithSelector(ILeases.Leases_TermsUsed.selector, leases.leaseId(terms));
        vm.prank(_requester(0));
        vm.expectRevert(used);
        leases.cancel(terms);
    }

    // --- settle -------------------------------------------------------------------------------

    function test_settle() public {
        bytes32 lease = _start(_terms());
        _pass(100);
        (uint64 amount, uint64 fee) = leases.earned(lease);
        assertEq(amount, 100_000, "earned");
        assertEq(fee, 5000, "for the scheduler");
        vm.recordLogs();
        vm.prank(STRANGER);
        leases.settle(lease);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1, "it goes on");
        assertEq(logs[0].topics[0], ILeases.LeasePaid.selector, "paid");
        assertEq(keccak256(logs[0].data), keccak256(abi.encode(100_000, 5000, time)), "how much");
        assertEq(_free(_operator(0)), 100_000, "the operator's");
        assertEq(_free(SCHEDULER), 5000, "the scheduler's");
        assertEq(vault.escrow(address(leases)), HOUR_OF_MONEY - 105_000, "the rest");
        assertEq(leases.leaseOf(lease).paidUntil, time, "paid until now");
        assertEq(leases.endsAt(lease), time + 3500, "the end stays");
        _assertSolvent();
    }

    function test_settle_often() public {
        Terms memory terms = _terms();
        bytes32 often = _start(terms);
        terms.nonce = 2;
        bytes32 once = _start(terms);
        for (uint256 i = 0; i < 50; ++i) {
            _pass(1 + i % 7);
            leases.settle(often);
        }
        uint256 paid = _free(_operator(0));
        leases.settle(once);
        assertEq(_free(_operator(0)), 2 * paid, "the same sum");
        assertEq(leases.endsAt(once), leases.endsAt(often), "the same end");
    }

    function test_settle_sameSecond() public {
        bytes32 lease = _start(_terms());
        leases.settle(lease);
        assertEq(_free(_operator(0)), 0, "nothing yet");
        _pass(1);
        leases.settle(lease);
        leases.settle(lease);
        assertEq(_free(_operator(0)), 1000, "one second");
    }

    function test_settle_noScheduler() public {
        Terms memory terms = _terms();
        (terms.scheduler, terms.feeRate) = (address(0), 0);
        bytes32 lease = _start(terms);
        _pass(10);
        leases.settle(lease);
        assertEq(_free(_operator(0)), 10_000, "the operator's");
        assertEq(_free(address(0)), 0, "nobody else's");
    }

    function test_settle_ranOut() public {
        Terms memory terms = _terms();
        terms.escrow = HOUR_OF_MONEY + 1049;
        bytes32 lease = _start(terms);
        _pass(1 hours - 1);
        leases.settle(lease);
        assertEq(uint256(_status(lease)), uint256(LeaseStatus.Open), "a second left");
        _pass(1);
        vm.recordLogs();
        vm.prank(STRANGER);
        leases.settle(lease);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 2, "two logs");
        assertEq(keccak256(logs[0].data), keccak256(abi.encode(1000, 50, time)), "the last second");
        assertEq(logs[1].topics[0], ILeases.LeaseEnded.selector, "ended");
        assertEq(abi.decode(logs[1].data, (uint256)), 1049, "the refund");
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 3600 * 1000, "the whole hour");
        assertEq(_free(_requester(0)), MONEY - HOUR_OF_MONEY, "less than a second comes back");
        assertEq(vault.escrow(address(leases)), 0, "nothing left");
        _assertSolvent();
    }

    function test_settle_late() public {
        bytes32 lease = _start(_terms());
        _pass(365 days);
        leases.settle(lease);
        assertEq(_free(_operator(0)), 3600 * 1000, "an hour");
        assertEq(leases.leaseOf(lease).paidUntil, time - 365 days + 1 hours, "up to its end");
        _assertEnded(lease);
    }

    function test_settle_notOpen() public {
        bytes32 lease = keccak256("no lease");
        bytes memory notOpen = abi.encodeWithSelector(ILeases.Leases_NotOpen.selector, lease);
        vm.expectRevert(notOpen);
        leases.settle(lease);
        vm.expectRevert(notOpen);
        leases.endsAt(lease);
        vm.expectRevert(notOpen);
        leases.earned(lease);
        lease = _start(_terms());
        _stop(_operator(0), lease);
        vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_NotOpen.selector, lease));
        leases.settle(lease);
    }

    // --- top-up -------------------------------------------------------------------------------

    function test_topUp() public {
        bytes32 lease = _start(_terms());
        _deposit(STRANGER, 1050);
        parties.push(STRANGER);
        uint256 end = leases.endsAt(lease);
        vm.recordLogs();
        _topUp(STRANGER, lease, 1050);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs[0].topics[0], ILeases.LeaseToppedUp.selector, "logged");
        assertEq(keccak256(logs[0].data), keccak256(abi.encode(1050, end + 1)), "the new end");
        _pass(60);
        _topUp(_requester(0), lease, 60 * 1050);
        assertEq(leases.endsAt(lease), end + 61, "a minute and a second more");
        assertEq(_free(STRANGER), 0, "whoever calls pays");
        assertEq(vault.escrow(address(leases)), HOUR_OF_MONEY + 61 * 1050, "in escrow");
        _assertSolvent();
    }

    function test_topUp_ranOut() public {
        bytes32 lease = _start(_terms());
        _pass(1 hours);
        vm.prank(_requester(0));
        vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_Over.selector, lease, time));
        leases.topUp(lease, 1050);
        leases.settle(lease);
        vm.prank(_requester(0));
        vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_NotOpen.selector, lease));
        leases.topUp(lease, 1050);
    }

    function test_topUp_stopped() public {
        bytes32 lease = _start(_terms());
        _stop(_requester(0), lease);
        _topUp(_requester(0), lease, 1050);
        assertEq(leases.endsAt(lease), time + 600, "the stop stays");
    }

    function test_topUp_insufficient() public {
        bytes32 lease = _start(_terms());
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IVault.Vault_InsufficientFree.selector, STRANGER, 0, 1));
        leases.topUp(lease, 1);
        assertEq(leases.leaseOf(lease).escrow, HOUR_OF_MONEY, "as before");
    }

    // --- stop ---------------------------------------------------------------------------------

    function test_stop_operator() public {
        bytes32 lease = _start(_terms());
        _pass(100);
        vm.recordLogs();
        _stop(_operator(0), lease);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 3, "stopped, paid, ended");
        assertEq(logs[0].topics[0], ILeases.LeaseStopped.selector, "stopped");
        assertEq(logs[0].topics[2], bytes32(uint256(uint160(_operator(0)))), "by the operator");
        assertEq(abi.decode(logs[0].data, (uint256)), time, "now");
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 100_000, "paid to the second");
        assertEq(_free(_requester(0)), MONEY - 105_000, "the rest is back");
        _assertSolvent();
    }

    function test_stop_signingKey() public {
        bytes32 lease = _start(_terms());
        _pass(100);
        _stop(vm.addr(SIGNER_KEY), lease);
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 100_000, "the operator is paid");
    }

    function test_stop_requester() public {
        bytes32 lease = _start(_terms());
        _pass(100);
        _stop(_requester(0), lease);
        assertEq(leases.endsAt(lease), time + 600, "after the notice");
        _pass(599);
        leases.settle(lease);
        assertEq(uint256(_status(lease)), uint256(LeaseStatus.Open), "a second left");
        _pass(1 hours);
        vm.prank(STRANGER);
        leases.settle(lease);
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 700_000, "100 s and the notice");
        assertEq(_free(_requester(0)), MONEY - 700 * 1050, "and not a second more");
        _assertSolvent();
    }

    function test_stop_requesterAsSigner() public {
        vm.prank(_operator(0));
        providers.setSigner(_requester(0));
        _pass(1 days);
        bytes32 lease = _start(_terms());
        _stop(_requester(0), lease);
        assertEq(leases.endsAt(lease), time + 600, "after the notice");
    }

    function test_stop_noNotice() public {
        Terms memory terms = _terms();
        terms.notice = 0;
        bytes32 lease = _start(terms);
        _pass(7);
        _stop(_requester(0), lease);
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 7000, "paid to the second");
    }

    function test_stop_moneyEndsSooner() public {
        bytes32 lease = _start(_terms());
        _pass(1 hours - 10);
        _stop(_requester(0), lease);
        assertEq(leases.endsAt(lease), time + 10, "with the money");
        _pass(10);
        leases.settle(lease);
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 3600 * 1000, "the whole hour");
    }

    function test_stop_operatorInNotice() public {
        bytes32 lease = _start(_terms());
        _stop(_requester(0), lease);
        _pass(100);
        _stop(_operator(0), lease);
        _assertEnded(lease);
        assertEq(_free(_operator(0)), 100_000, "up to its own stop");
    }

    function test_stop_again() public {
        bytes32 lease = _start(_terms());
        _stop(_requester(0), lease);
        uint256 end = leases.endsAt(lease);
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(_requester(0));
            vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_AlreadyStopped.selector, lease, end));
            leases.stop(lease);
            _pass(100);
        }
        assertEq(leases.endsAt(lease), end, "as before");
    }

    function test_stop_stranger() public {
        bytes32 lease = _start(_terms());
        address[2] memory strangers = [STRANGER, SCHEDULER];
        for (uint256 i = 0; i < strangers.length; ++i) {
            vm.prank(strangers[i]);
            vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_NotParty.selector, strangers[i]));
            leases.stop(lease);
        }
    }

    function test_stop_over() public {
        bytes32 lease = _start(_terms());
        _pass(1 hours);
        uint256 end = time;
        address[2] memory both = [_operator(0), _requester(0)];
        for (uint256 i = 0; i < both.length; ++i) {
            vm.prank(both[i]);
            vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_Over.selector, lease, end));
            leases.stop(lease);
        }
        leases.settle(lease);
        vm.prank(_operator(0));
        vm.expectRevert(abi.encodeWithSelector(ILeases.Leases_NotOpen.selector, lease));
        leases.stop(lease);
    }

    // --- exits --------------------------------------------------------------------------------

    function test_exit_operatorLeft() public {
        bytes32 lease = _start(_terms());
        vm.prank(_operator(0));
        providers.unstake(CLASS, 1);
        _pass(7 days);
        vm.prank(_operator(0));
        providers.exit();
        assertEq(_free(_operator(0)), SEAT, "no lease holds stake");
        leases.settle(lease);
        assertEq(_free(_operator(0)), SEAT + 3600 * 1000, "and the lease is paid");
        _assertSolvent();
    }

    function test_exit_requesterEmpty() public {
        bytes32 lease = _start(_terms());
        vm.prank(_requester(0));
        vault.withdraw(_requester(0), MONEY - HOUR_OF_MONEY);
        _pass(10);
        _stop(_requester(0), lease);
        _pass(600);
        leases.settle(lease);
        assertEq(_free(_requester(0)), HOUR_OF_MONEY - 610 * 1050, "what is left");
        _assertSolvent();
    }

    function test_exit_operatorSlashed() public {
        bytes32 lease = _start(_terms());
        uint256[] memory record = new uint256[](Records.HEAD_WORDS + 2);
        (record[1], record[2], record[5]) = (uint160(_requester(0)), 1, 2);
        record[6] = Share.unwrap(toShare(_operator(0), SEAT, ShareKind.Slashed));
        record[7] = Share.unwrap(toShare(SCHEDULER, 0, ShareKind.Fee));
        vm.prank(MARKET);
        vault.post(1, 1, record);
        assertEq(vault.account(_operator(0)).bond, 0, "slashed");
        _pass(10);
        _stop(_operator(0), lease);
        assertEq(_free(_operator(0)), 10_000, "paid all the same");
        _assertSolvent();
    }

    function test_exit_otherLease() public {
        Terms memory terms = _terms();
        bytes32 one = _start(terms);
        terms.nonce = 2;
        bytes32 other = _start(terms);
        _pass(10);
        _stop(_operator(0), one);
        assertEq(leases.leaseOf(other).escrow, HOUR_OF_MONEY, "untouched");
        assertEq(vault.escrow(address(leases)), HOUR_OF_MONEY, "and in escrow");
    }

    // --- limits -------------------------------------------------------------------------------

    function test_limits() public {
        Terms memory terms = _terms();
        uint64 fortune = type(uint64).max - vault.total();
        _deposit(_requester(0), fortune);
        (terms.rate, terms.feeRate) = (type(uint48).max, type(uint48).max);
        (terms.notice, terms.escrow, terms.nonce) = (1, fortune, 2);
        bytes32 fast = _start(terms);
        uint256 seconds_ = fortune / (2 * uint256(type(uint48).max));
        assertEq(leases.endsAt(fast), time + seconds_, "some ten hours");
        _pass(seconds_);
        leases.settle(fast);
        assertEq(_free(_operator(0)), seconds_ * type(uint48).max, "paid");

        terms = _terms();
        (terms.rate, terms.feeRate, terms.escrow) = (1, 0, uint64(_free(_requester(0))));
        (terms.startBy, terms.nonce) = (type(uint64).max, 3);
        bytes32 slow = _start(terms);
        _topUp(_operator(0), slow, uint64(_free(_operator(0))));
        assertEq(leases.endsAt(slow), type(uint48).max, "until the end of time");
        _pass(365 days * 1000);
        leases.settle(slow);
        assertEq(_free(_operator(0)), 365 days * 1000, "a thousand years");
        _stop(_requester(0), slow);
        _pass(600);
        leases.settle(slow);
        _assertEnded(slow);
        _assertSolvent();
    }

    function test_noticeMax() public view {
        assertEq(leases.NOTICE_MAX(), vault.NOTICE(), "nobody's money is held longer");
        assertTrue(leases.NOTICE_MAX() < type(uint24).max, "and it fits its place");
    }

    // --- for the tests above ------------------------------------------------------------------

    /// @dev The terms that both signed, but for one member.
    function _changed(uint256 member) private view returns (Terms memory terms) {
        terms = _terms();
        if (member == 0) terms.requester = _operator(0);
        if (member == 1) terms.operator = _operator(1);
        if (member == 2) terms.spec = keccak256("another");
        if (member == 3) terms.hardwareClass = keccak256("another");
        if (member == 4) terms.scheduler = STRANGER;
        if (member == 5) terms.rate += 1;
        if (member == 6) terms.feeRate += 1;
        if (member == 7) terms.escrow += 1;
        if (member == 8) terms.notice -= 1;
        if (member == 9) terms.startBy += 1;
        if (member == 10) terms.nonce += 1;
    }

    /// @dev High s, 64 bytes (EIP-2098), 66 bytes, none.
    function _otherForms(uint256 key, bytes32 digest) private pure returns (bytes[4] memory forms) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        forms[0] = abi.encodePacked(r, bytes32(CURVE_ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        forms[1] = abi.encodePacked(r, bytes32(uint256(s) | uint256(v - 27) << 255));
        forms[2] = abi.encodePacked(r, s, v, uint8(0));
    }

    function _assertRefused(Terms memory terms, uint256 requesterKey, uint256 operatorKey, bytes4 reason)
        private
    {
        bytes32 lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(requesterKey, lease);
        bytes memory operatorSig = _sign(operatorKey, lease);
        expectRevert(reason);
        leases.start(terms, requesterSig, operatorSig);
    }

    function _assertRevert(Terms memory terms, bytes memory reason) private {
        bytes32 lease = leases.leaseId(terms);
        bytes memory requesterSig = _sign(REQUESTER_KEY, lease);
        bytes memory operatorSig = _sign(OPERATOR_KEY, lease);
        vm.expectRevert(reason);
        leases.start(terms, requesterSig, operatorSig);
    }
}
