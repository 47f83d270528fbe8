"""Installing a plugin as pip would, without pip: its package and its metadata side by side in one folder."""

import shutil
import tomllib
from pathlib import Path

STRANGER = Path(__file__).parent / "mmbridge_stranger"


def install(project: Path, into: Path) -> Path:
    """Install a pure Python project into a folder that only needs to stand on `sys.path` (or PYTHONPATH)."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    module = about["name"].replace("-", "_")
    shutil.copytree(project / module, into / module, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = into / f"{module}-{about['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    lines = [
        line
        for group, entries in about["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return into
