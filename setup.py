"""What pyproject.toml cannot say: a wheel carries the example cohort, which `securegen example` writes."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExample(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib) / "securegen" / "example"
            folder.mkdir(parents=True, exist_ok=True)
            for file in sorted((Path(__file__).resolve().parent / "examples").glob("cohort.*")):
                shutil.copyfile(file, folder / file.name)


setup(cmdclass={"build_py": BuildWithExample})
