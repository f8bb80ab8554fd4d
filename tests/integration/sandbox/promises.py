"""What the sandbox promises, and the tests that try to break each: the table of docs/sandbox.md.

    python -m pytest tests/integration/sandbox --promises

prints it for the tiers that run on this machine.
"""

from collections import defaultdict
from collections.abc import Iterable

from _pytest.reports import TestReport

PROMISES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "The daemon's environment and arguments show in no process",
        ("test_no_process_shows_a_secret_of_the_daemon",),
    ),
    (
        "The daemon's files and keys are not there",
        (
            "test_files_of_the_daemon_are_not_there",
            "test_only_packages_of_the_environment_are_there",
            "test_the_daemons_own_files_are_out_of_reach_of_a_slots_uid",
            "test_no_path_leads_out",
            "test_a_link_in_the_input_leads_nowhere",
        ),
    ),
    (
        "Each slot has a host user id of its own",
        (
            "test_a_job_runs_under_its_slots_uid_on_the_host",
            "test_a_module_runs_under_its_slots_uid_and_in_its_cgroup",
        ),
    ),
    (
        "Other slots' files and processes are out of reach",
        (
            "test_slots_do_not_see_each_others_files",
            "test_a_job_cannot_signal_or_trace_another_slots_or_the_daemon",
            "test_a_job_cannot_enter_another_slots_namespaces",
            "test_no_path_leads_out",
        ),
    ),
    (
        "Processes of the host are not seen",
        ("test_processes_of_the_host_are_not_there", "test_no_path_leads_out"),
    ),
    (
        "No secret of /proc and /sys is read, nothing there is set",
        (
            "test_secrets_of_kernel_and_machine_cannot_be_read",
            "test_addresses_of_the_kernel_are_hidden",
            "test_nothing_of_the_kernel_can_be_set",
            "test_no_path_leads_out",
        ),
    ),
    (
        "No capability, and none to be gained by set-user-id programs",
        ("test_a_job_holds_no_capability", "test_set_user_id_programs_give_nothing"),
    ),
    (
        "Only reviewed system calls and socket families pass",
        ("test_forbidden_system_calls_fail", "test_unusual_socket_families_are_refused"),
    ),
    (
        "No network but a loopback of its own",
        (
            "test_there_is_no_network_but_a_loopback_of_its_own",
            "test_listeners_of_the_host_cannot_be_reached",
        ),
    ),
    (
        "One socket to the daemon, which knows who calls",
        (
            "test_a_job_tells_how_far_it_is",
            "test_without_a_listener_there_is_no_socket",
            "test_a_job_cannot_put_something_in_its_place_or_reach_the_folder",
            "test_another_uid_is_refused",
            "test_lines_are_bounded",
            "test_connections_are_bounded",
            "test_connections_end_with_the_run",
        ),
    ),
    (
        "Only scratch and output can be written",
        (
            "test_everything_but_scratch_and_output_is_read_only",
            "test_every_mount_but_the_jobs_own_is_read_only_and_none_honours_set_user_id",
            "test_no_path_leads_out",
        ),
    ),
    ("No device can be made or reached", ("test_devices_cannot_be_made_or_reached_by_name",)),
    (
        "No descriptor of the daemon is left open",
        ("test_no_descriptor_of_ours_is_left_open", "test_there_is_nothing_of_ours_to_write_to"),
    ),
    (
        "Memory is bounded as a whole, and a kill is told by the counter",
        (
            "test_memory_over_the_limit_is_out_of_memory",
            "test_a_killed_child_counts_although_the_parent_exits_0",
            "test_files_do_not_eat_the_memory_of_the_order",
            "test_memory_that_was_refused_explains_a_failure_and_only_that",
            "test_all_of_the_memory_that_was_ordered_can_be_used",
        ),
    ),
    (
        "Processes are bounded; a fork bomb ends",
        ("test_processes_are_bounded", "test_a_fork_bomb_is_over_at_the_wall_clock"),
    ),
    ("CPU time is bounded", ("test_cpu_time_is_bounded",)),
    ("Descriptors run out for the job alone", ("test_descriptors_run_out_for_the_job_alone",)),
    (
        "Everything ends at the wall clock: double forks, setsid, ignored TERM",
        (
            "test_double_forked_children_that_ignore_term_end_at_the_wall_clock",
            "test_too_many_instructions_end_as_too_much_time_does",
        ),
    ),
    (
        "Nothing survives the command's end or a kill",
        (
            "test_children_left_behind_end_with_the_command",
            "test_cancelling_kills_every_process",
            "test_cancelling_at_any_moment_leaves_nothing",
            "test_kills_at_any_moment_leave_nothing",
        ),
    ),
    (
        "100 kills leak no process, mount, cgroup or descriptor (T0: 20)",
        ("test_a_hundred_kills_in_a_row_leak_nothing", "test_kills_at_any_moment_leave_nothing"),
    ),
    (
        "A killed launcher or daemon takes its jobs along",
        (
            "test_a_killed_launcher_takes_its_jobs_along_and_is_started_anew",
            "test_nothing_outlives_a_killed_daemon_but_empty_groups_that_are_cleaned",
        ),
    ),
    (
        "Scratch is bounded, shared memory with it, files by number",
        (
            "test_full_scratch_is_disk_full",
            "test_shared_memory_is_part_of_scratch",
            "test_scratch_files_are_bounded",
            "test_the_self_test_finds_every_promise_kept",
        ),
    ),
    (
        "Output is bounded: bytes, files, sparse files, huge directories",
        (
            "test_more_output_than_ordered_is_too_large",
            "test_files_of_output_are_counted",
            "test_a_job_cannot_make_more_files_than_it_may_hand_over",
            "test_a_huge_directory_is_too_large_and_not_a_burden",
            "test_output_is_counted_to_the_byte",
        ),
    ),
    (
        "Output holds files and directories only, and nothing points outside",
        (
            "test_anything_but_files_and_directories_is_refused",
            "test_output_that_points_outside_or_too_deep_is_refused",
            "test_nothing_outside_can_be_linked_into_the_output",
            "test_a_name_changed_while_it_is_taken_over_is_too_late",
            "test_names_may_be_as_long_and_as_many_as_was_ordered",
            "test_the_self_test_finds_every_promise_kept",
        ),
    ),
    (
        "200 MB of log are drained, and their end is kept",
        (
            "test_a_flood_of_log_is_drained_and_its_end_kept",
            "test_two_hundred_megabytes_of_log_end_a_job_as_little_as_it",
        ),
    ),
    (
        "The end is called what it was: exit codes, missing programs, the owner's kill",
        (
            "test_exit_codes_arrive",
            "test_a_missing_program_is_the_jobs_error",
            "test_a_killed_sandbox_program_is_the_owners_doing",
            "test_a_full_disk_does_not_explain_an_earlier_failure",
            "test_what_is_no_program_is_the_jobs_error",
            "test_the_module_lies_below_input",
        ),
    ),
    (
        "The host's Python and torch run inside",
        ("test_torch_and_numpy_work_inside", "test_input_of_a_strict_umask_can_be_read"),
    ),
    (
        "The self-test finds what this machine keeps, and what it does not",
        (
            "test_with_cgroups_every_promise_is_kept",
            "test_without_cgroups_it_says_what_is_weaker",
            "test_an_ordinary_users_jobs_are_isolated_and_weaker_limits_are_named",
            "test_the_self_test_finds_every_promise_kept",
        ),
    ),
)

TIERS = ("t0", "t1", "t2")
_OF_PARAMETERS = {"t1": "t1", "t2": "t2", "bwrap": "t1", "crun": "t2", "runc": "t2"}


def table(reports: Iterable[TestReport]) -> str:
    """Return the promises with what became of their tests, in Markdown."""
    outcomes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for report in reports:
        outcomes[_name_and_tier(report.nodeid)].append(report.outcome)
    lines = ["| promise | T0 | T1 | T2 |", "|---|---|---|---|"]
    for promise, tests in PROMISES:
        cells = [_cell([o for t in tests for o in outcomes[t, tier]]) for tier in TIERS]
        lines.append(f"| {promise} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(outcomes: list[str]) -> str:
    if not outcomes:
        return "-"
    if "failed" in outcomes:
        return f"**broken** ({outcomes.count('failed')} of {len(outcomes)})"
    kept = outcomes.count("passed")
    return f"kept ({kept})" if kept else "not tried here"


def _name_and_tier(nodeid: str) -> tuple[str, str]:
    path, _, rest = nodeid.partition("::")
    name, _, parameters = rest.partition("[")
    words = parameters.rstrip("]").split("-")
    found = [_OF_PARAMETERS[word] for word in words if word in _OF_PARAMETERS]
    default = "t0" if path.endswith("test_wasm.py") else "t1"
    return name, found[0] if found else default
