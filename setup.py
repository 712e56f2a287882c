"""Build the wheel: what lies beside edgeproof/ in a clone lies inside of the package in a wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

# Files that an installed edgeproof reads, besides its package (edgeproof/paths.py, find_shipped).
SHIPPED = ("dvc.yaml",)
CONF = [path for path in sorted(Path("conf").rglob("*")) if path.is_dir()]


class BuildWithShippedFiles(build_py):
    """Copy the files of SHIPPED into the package."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                shutil.copyfile(name, Path(self.build_lib, "edgeproof", name))


setup(
    packages=[
        *find_packages(include=["edgeproof", "edgeproof.*"]),
        "edgeproof.stages",
        "edgeproof.conf",
        *(f"edgeproof.{'.'.join(path.parts)}" for path in CONF),
    ],
    package_dir={"edgeproof.stages": "stages", "edgeproof.conf": "conf"},
    cmdclass={"build_py": BuildWithShippedFiles},
)
