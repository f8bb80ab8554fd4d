"""A setting that nothing reads is a lie to whoever sets it."""

import re
from pathlib import Path

from assay_node.settings.catalog import settings_catalog

ROOT = Path(__file__).parents[2]


def test_every_setting_is_read_somewhere() -> None:
    source = "\n".join(
        path.read_text()
        for folder in ("node", "scheduler", "provider_agent")
        for path in (ROOT / folder).rglob("*.py")
        if "settings" not in path.relative_to(ROOT / folder).parts
    )
    read = set(re.findall(r"\.([a-z_0-9]+)\b", source))
    unread = [key for key in settings_catalog() if key.rpartition(".")[2] not in read]
    assert not unread, "nothing reads " + ", ".join(unread)
