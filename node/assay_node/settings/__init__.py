"""Every setting of every role; the only reader of the environment and the config file.

Precedence, highest first: flags, environment (`ASSAY_` and the names joined by `__`, in upper
case: `provider.slot.memory_bytes` is `ASSAY_PROVIDER__SLOT__MEMORY_BYTES`), the config file
(TOML), defaults. The frozen pydantic models go to composition roots and no further: those build
the dataclasses that each part takes. `docs/settings.md` is generated from `sections`.
"""

from assay_node.settings.places import assay_home, config_in_use, default_config_path
from assay_node.settings.provider_sections import ExactSettings, ProviderSettings, SlotSettings
from assay_node.settings.sections import (
    ArtifactsSettings,
    ChainSettings,
    NetworkSettings,
    RequesterSettings,
    SchedulerSettings,
    Settings,
)
from assay_node.settings.sources import load_settings

__all__ = [
    "ArtifactsSettings",
    "ChainSettings",
    "ExactSettings",
    "NetworkSettings",
    "ProviderSettings",
    "RequesterSettings",
    "SchedulerSettings",
    "Settings",
    "SlotSettings",
    "assay_home",
    "config_in_use",
    "default_config_path",
    "load_settings",
]
