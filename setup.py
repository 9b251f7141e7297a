"""Put the shipped models and the page into the wheel, so that an installed package finds them without a checkout."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FILES = {
    "artifacts": ("export_results.json", "*.onnx", "*.manifest.json", "samples/*"),  # what recognition needs
    "web": ("*.html", "*.css", "*.js"),
}


class BuildWithArtifacts(build_py):
    """The usual build, then `artifacts/` as `edgedigit/_artifacts/`, and `web/` likewise; an editable install uses the
    checkout's own."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for folder, patterns in FILES.items():
            for source in sorted(path for pattern in patterns for path in Path(folder).glob(pattern)):
                target = Path(self.build_lib, "edgedigit", f"_{folder}", source.relative_to(folder))
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithArtifacts})
