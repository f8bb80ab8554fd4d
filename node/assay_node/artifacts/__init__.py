"""Content-addressed files and directories: a store on disk and an exchange with peers."""

from assay_node.artifacts.blockstore import Collected, DamagedBlock
from assay_node.artifacts.catalog import Pin
from assay_node.artifacts.embedded import EmbeddedArtifacts, Usage, cid_of_path, open_artifacts
from assay_node.artifacts.reader import ArtifactSize, Entry, EntryKind
from assay_node.artifacts.settings import ArtifactSettings

__all__ = [
    "ArtifactSettings",
    "ArtifactSize",
    "Collected",
    "DamagedBlock",
    "EmbeddedArtifacts",
    "Entry",
    "EntryKind",
    "Pin",
    "Usage",
    "cid_of_path",
    "open_artifacts",
]
