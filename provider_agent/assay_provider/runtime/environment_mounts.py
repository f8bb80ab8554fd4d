"""Mounts environments in the launcher's private namespace, once each, for all jobs that use them.

An environment is an overlay of its layers, all read-only, under a frame of ours: the directories
that the sandbox mounts over and a few files of /etc. The frame lies on top, so that a layer cannot
put a link where something is going to be mounted. A job's own namespace is a copy of the launcher's
at the time it starts, so what is unmounted here lives on for the jobs that have it.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay_provider.runtime import loops, mounts

MOUNT_POINTS: Final = ("dev", "input", "opt/driver", "opt/exact", "output", "proc", "tmp")
"""What the sandbox mounts over; empty in every environment that has nothing else there."""

_FRAME: Final = "frame"
_LAYERS: Final = "layers"
ENVIRONMENTS: Final = "environments"


@dataclass(slots=True)
class _Layer:
    number: int
    users: int = 0


@dataclass(slots=True)
class EnvironmentMounts:
    """What is mounted below one staging directory."""

    staging: Path
    _layers: dict[str, _Layer] = field(default_factory=dict)
    """By image."""
    _images: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By environment."""
    _numbers: int = 0

    def make_frame(self, etc_files: dict[str, str]) -> None:
        """Make what lies above every environment; once, after the staging tmpfs is there."""
        for folder in (*MOUNT_POINTS, "etc"):
            (self.staging / _FRAME / folder).mkdir(parents=True)
        for name, text in etc_files.items():
            (self.staging / _FRAME / "etc" / name).write_text(text, encoding="ascii")
        (self.staging / _LAYERS).mkdir()
        (self.staging / ENVIRONMENTS).mkdir()

    def mount(self, name: str, images: list[str]) -> None:
        """Mount an environment; `images` are its layers, the lowest first.

        Raises:
            OSError: the kernel refuses; nothing of it stays mounted.
        """
        target = self.staging / ENVIRONMENTS / name
        taken: list[str] = []
        try:
            for image in images:
                self._take(image)
                taken.append(image)
            target.mkdir()
            # Relative names: the kernel reads one page of options, and there may be 64 layers.
            os.chdir(self.staging)
            lower = [f"{_LAYERS}/{self._layers[image].number}" for image in reversed(images)]
            mounts.overlay([_FRAME, *lower], target)
        except OSError:
            if target.exists():
                target.rmdir()
            for image in reversed(taken):
                self._release(image)
            raise
        finally:
            os.chdir("/")
        self._images[name] = tuple(images)

    def unmount(self, name: str) -> None:
        """Take an environment away, with the layers that no other one has.

        Raises:
            OSError: it was not mounted.
        """
        target = self.staging / ENVIRONMENTS / name
        mounts.unmount(target)
        target.rmdir()
        for image in reversed(self._images.pop(name)):
            self._release(image)

    def _take(self, image: str) -> None:
        layer = self._layers.get(image)
        if layer is None:
            self._numbers += 1
            layer = _Layer(number=self._numbers)
            place = self.staging / _LAYERS / str(layer.number)
            place.mkdir()
            try:
                with loops.attached(Path(image)) as device:
                    mounts.squashfs(device, place)
            except OSError:
                place.rmdir()
                raise
            self._layers[image] = layer
        layer.users += 1

    def _release(self, image: str) -> None:
        layer = self._layers[image]
        layer.users -= 1
        if layer.users == 0:
            del self._layers[image]
            place = self.staging / _LAYERS / str(layer.number)
            mounts.unmount(place)
            place.rmdir()
