"""A load on the other cores, to measure beside: processes that multiply matrices without a pause."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from edgedigit.errors import WorkerError

SIDE = 256  # of the matrices: 0.25 MB each, so that caches are in use as well as arithmetic
WORK = f"""
import os, sys
import numpy as np
parent = int(sys.argv[1])
matrix = np.ones(({SIDE}, {SIDE}), np.float32)
print("busy", flush=True)
while os.getppid() == parent:  # whoever measures may be killed, and then nobody would end this
    for _ in range(100):
        matrix @ matrix
"""
LOAD = f"numpy multiplies two float32 matrices of {SIDE} × {SIDE} without a pause, on one thread, bound to no core"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def other_cores() -> int:
    """Cores beside the one that is measured on; 1 where there is only that one, which the load then shares."""
    return max(1, (os.cpu_count() or 1) - 1)


@contextlib.contextmanager
def busy_cores(n_processes: int) -> Iterator[list[subprocess.Popen]]:
    """So many processes at work inside, none before and after.

    Raises:
        WorkerError: if one does not begin.
    """
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    command = [sys.executable, "-c", WORK, str(os.getpid())]
    with contextlib.ExitStack() as stack:
        workers = []
        for _ in range(n_processes):
            worker = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            stack.enter_context(worker)
            stack.callback(worker.kill)  # before the wait in its own __exit__
            workers.append(worker)
        for worker in workers:
            if worker.stdout.readline() != "busy\n":
                said = worker.stderr.read().strip().splitlines() or ["it ended"]
                raise WorkerError(f"a process that should keep a core busy did not begin: {said[-1]}")
        yield workers
