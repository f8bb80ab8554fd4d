"""job.toml and the flags over it."""

from pathlib import Path

import pytest

from assay_node.job_file import read_job
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import hardware_class_digest

EXAMPLES = Path(__file__).parents[3] / "examples"


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


@pytest.mark.parametrize(
    ("keys", "means"),
    [
        ({}, ("class", None)),
        ({"exact": "E21"}, ("exact", "E21")),
        ({"exact": "as-is"}, ("exact", "as-is")),
        ({"exact": "FMA", "comparison": "class"}, ("class", "FMA")),
        ({"comparison": "class"}, ("class", None)),
    ],
)
def test_what_is_exact_is_compared_exactly_unless_said_otherwise(tmp_path, keys, means):
    job = read(tmp_path, command=["python", "/input/main.py"], **keys)
    assert (job.comparison, job.exact) == means


def test_an_exact_comparison_needs_a_reason_and_the_three_ways_out_are_named(tmp_path):
    with pytest.raises(LocalError) as error:
        read(tmp_path, command=["python", "/input/main.py"], comparison="exact")
    for way in ('exact = "E21"', 'exact = "as-is"', 'comparison = "class"'):
        assert way in str(error.value)


@pytest.mark.parametrize(
    ("name", "means"), [("digits", ("exact", "E21")), ("sweep", ("class", None))]
)
def test_the_examples_say_what_they_are(name, means):
    job = read(EXAMPLES / name)
    assert (job.comparison, job.exact) == means


@pytest.mark.parametrize("command", [["true"], ["python"], ["python", "-m", "job"], ["sh", "a.py"]])
def test_a_mode_needs_a_python_script(tmp_path, command):
    with pytest.raises(LocalError, match=r'write the command as \["python", SCRIPT, \.\.\.\]'):
        read(tmp_path, command=command, exact="E14")
    assert read(tmp_path, command=command, exact="as-is").exact == "as-is"


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
        ('command = ["true"]\nexact = "E99"', "exact"),
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
