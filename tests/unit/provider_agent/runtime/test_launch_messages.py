from assay_provider.runtime import launch_messages as messages

SPEC = messages.LaunchSpec(
    uid=300_000,
    gid=300_000,
    drop_privileges=True,
    cgroup_procs=["/c/cgroup.procs"],
    arguments=["--setenv", "A", "ä\udcff"],
    command=["/bin/true"],
    input_directory="/in",
    output_directory="/out",
    scratch_tmpfs_bytes=1,
    output_tmpfs_bytes=2,
    output_bytes=3,
    output_files_max=4,
    wall_seconds=5.5,
    log_bytes=6,
)


def test_messages_come_back_as_they_were() -> None:
    assert messages.decode_spec(messages.encode(SPEC)) == SPEC
    collected = messages.Collected(refused="why")
    assert messages.decode_collected(messages.encode(collected)) == collected
    environment = messages.EnvironmentSpec(name="bafy", images=["/a/image", "/b/image"])
    assert messages.decode_environment(messages.encode(environment)) == environment
