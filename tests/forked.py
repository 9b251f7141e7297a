"""Programs in processes of their own that torch is imported for once: importing takes each longer than its work."""

import faulthandler
import importlib
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import torch

from edgedigit.cli import leave, run_main

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(
    ["edgedigit.train.pipeline", "edgedigit.report.plots", "matplotlib.figure", "torch._dynamo"]
)


class Forked:
    """A process that ends as `python PROGRAM.py ARGV` does, with variables of its environment."""

    def __init__(self, program, argv, variables=None):
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        environment = {**os.environ, **(variables or {})}
        words = [str(word) for word in argv]
        self._process = forks.Process(target=_run, args=(program, words, environment, self._said), daemon=True)
        self._process.start()

    def communicate(self, timeout):
        """(stdout, stderr) once it has ended."""
        self._process.join(timeout)
        if hangs := self.returncode is None:
            os.kill(self._process.pid, signal.SIGUSR1)  # where it is goes to its stderr
            self._process.join(5)
            self.kill()  # or this process would wait for it in the end
        said = tuple(path.read_text() if path.exists() else "" for path in self._said)
        if hangs:
            raise TimeoutError("\n".join([f"the process has not ended within {timeout} s", *said]))
        return said

    @property
    def returncode(self):
        return self._process.exitcode

    def kill(self):
        self._process.kill()
        self._process.join()


def _run(program, argv, environment, said):
    os.environ.clear()
    os.environ.update(environment)
    for stream, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), stream)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    torch.set_num_threads(1)
    leave(run_main(importlib.import_module(program).main, argv))
