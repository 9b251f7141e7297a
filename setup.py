"""Put the shipped models into the wheel, so that an installed package finds them without a checkout."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PATTERNS = ("export_results.json", "*.onnx", "*.manifest.json", "samples/*")  # what recognition needs


class BuildWithArtifacts(build_py):
    """The usual build, then `artifacts/` as `edgedigit/_artifacts/`; an editable install uses the checkout's own."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for pattern in PATTERNS:
            for source in sorted(Path("artifacts").glob(pattern)):
                target = Path(self.build_lib, "edgedigit", "_artifacts", source.relative_to("artifacts"))
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithArtifacts})
