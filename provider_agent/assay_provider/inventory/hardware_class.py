"""Under which hardware class a machine is offered: the owner's word, else what it has."""

import platform

from assay_node.protocol.hardware_class import cpu_class_name
from assay_node.settings import ProviderSettings
from assay_provider.gpus.opening import offered_gpus


def hardware_class_of(settings: ProviderSettings) -> str:
    """Return the class for everybody but the daemon, which knows its own devices. Blocks.

    Raises:
        LocalError: the settings name a GPU that cannot be offered.
    """
    if settings.hardware_class is not None:
        return settings.hardware_class
    return offered_gpus(settings).hardware_class or cpu_class_name(platform.machine())
