import platform

import pytest

from assay_provider.runtime import seccomp
from assay_provider.runtime.sandbox import SandboxUnavailable

TEXT = """
# comment
[all]
read write # more
close
[x86_64]
arch_thing
[refused]
mount
"""

NEVER = {
    *("mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "clone3"),
    *("move_mount", "open_tree", "fsopen", "fsmount", "mount_setattr"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    *("bpf", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "open_by_handle_at", "name_to_handle_at", "vmsplice"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("swapon", "swapoff", "settimeofday", "clock_settime", "iopl", "ioperm", "acct", "quotactl"),
    *("socket", "clone", "personality"),  # by argument only
}


def test_a_list_is_read_section_by_section() -> None:
    names = seccomp.parse_list(TEXT, "x86_64")

    assert names.allowed == ("read", "write", "close", "arch_thing")
    assert names.refused == ("mount",)
    assert seccomp.parse_list(TEXT, "aarch64").allowed == ("read", "write", "close")


@pytest.mark.parametrize("architecture", seccomp.ARCHITECTURES)
def test_the_shipped_list_allows_nothing_that_lets_a_job_out(architecture: str) -> None:
    names = seccomp.reviewed_list(architecture)

    assert not NEVER & set(names.allowed)
    assert not set(names.allowed) & set(names.refused)
    assert len(names.allowed) == len(set(names.allowed)) > 250
    assert {"read", "execve", "futex", "mmap", "getrandom"} <= set(names.allowed)


@pytest.mark.skipif(
    platform.machine() not in seccomp.ARCHITECTURES, reason="no list for this architecture"
)
def test_the_shipped_list_compiles_to_bpf() -> None:
    program = seccomp.compiled_filter()

    assert len(program) % 8 == 0, "struct sock_filter has eight bytes"
    assert 0 < len(program) // 8 <= 4096, "the kernel's BPF_MAXINSNS"


def test_a_foreign_architecture_has_no_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.compiled_filter.__wrapped__()
