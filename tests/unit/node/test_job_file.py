"""job.toml and the flags over it."""

import pytest

from assay_node.job_file import read_job
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import hardware_class_digest


def read(folder, **overrides):
    return read_job(folder, overrides, default_class="cpu-x86_64")


def test_a_command_is_all_it_takes(tmp_path):
    job = read(tmp_path, command=["true"])
    assert job.name == tmp_path.name
    assert (job.replicas, job.quorum, job.max_ticket) == (3, 2, 12)
    assert job.hardware_class == hardware_class_digest("cpu-x86_64")
    assert job.max_rate_microusd == 10_000


def test_flags_win_over_the_file_key_by_key(tmp_path):
    (tmp_path / "job.toml").write_text(
        'name = "from file"\ncommand = ["a", "b"]\nreplicas = 5\n[resources]\nmemory = "2G"\n'
        'output = "1M"\n[environment]\nX = "1"\n'
    )
    job = read(tmp_path, replicas=1, resources={"memory": "3G"})
    assert (job.name, job.command, job.environment) == ("from file", ("a", "b"), {"X": "1"})
    assert (job.replicas, job.quorum) == (1, 1)
    assert (job.resources.memory_bytes, job.resources.output_bytes) == (3 << 30, 1 << 20)


def test_audits_and_panels_are_asked_for(tmp_path):
    (tmp_path / "job.toml").write_text('command = ["true"]\naudit_percent = 2.5\nescalate = true\n')
    job = read(tmp_path)
    assert (job.audit_bps, job.escalate) == (250, True)
    assert job.panel_cost_microusd == 7 * 10_000 * 300
    assert job.audit_fee_microusd == 7 * 10_000 * 300 // 40
    job = read(tmp_path, escalate=False, audit_percent=0)
    assert (job.audit_bps, job.escalate, job.audit_fee_microusd) == (0, False, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('command = ["true"]\naudit_percent = 100.5', "audit_percent"),
        ("command = [", "not TOML"),
        ('command = ["true"]\nprise = "1"', "prise"),
        ('command = "true"', "command"),
        ('command = ["true"]\nreplicas = 9', "replicas"),
        ('command = ["true"]\nquorum = 1', "quorum"),
        ('command = ["true"]\ncomparison = "close"', "comparison"),
        ('command = ["true"]\nmax_price = "cheap"', "cheap"),
        ('command = ["true"]\n[resources]\nmemory = "much"', "much"),
        ('command = ["true"]\nhardware_class = "H 100"', "hardware class"),
        ('name = "nothing to run"', "--command"),
    ],
)
def test_a_mistake_is_named_in_one_sentence(tmp_path, text, why):
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(LocalError, match=why) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_directory_is_said(tmp_path):
    with pytest.raises(LocalError, match="not a directory"):
        read(tmp_path / "nowhere", command=["true"])
