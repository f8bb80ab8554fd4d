"""The GPUs to be measured, from the settings."""

from assay_node.settings import ProviderSettings
from assay_provider.inventory.benchmark.gpus import MeasuredGpu


def gpus_for_sale(settings: ProviderSettings) -> tuple[MeasuredGpu, ...]:
    """Return the GPUs that a daemon with these settings offers: none, it sells processors."""
    del settings
    return ()
