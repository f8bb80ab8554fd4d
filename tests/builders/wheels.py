"""Wheels, made by hand."""

import io
import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, files: dict[str, bytes], version: str = "1.0") -> Path:
    """Write a pure wheel with these files beside its description."""
    information = f"{name}-{version}.dist-info"
    described = {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/RECORD": "",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in {**files, **{k: v.encode() for k, v in described.items()}}.items():
            archive.writestr(path, data)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    path.write_bytes(stream.getvalue())
    return path
