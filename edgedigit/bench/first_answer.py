"""The first answer of a fresh process, as a program on a device starts: run as `-m`, ends with one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise


def main(path: str) -> int:
    """Import the runtime, load a model, answer once; prints how long each took, in ms."""
    moments = [time.perf_counter()]
    import numpy as np

    from edgedigit.runtime import Recognizer

    moments.append(time.perf_counter())
    recognizer = Recognizer(path)
    moments.append(time.perf_counter())
    info = recognizer.info
    prediction = recognizer.predict(0.1 * np.sin(np.arange(info.n_samples, dtype=np.float32)), info.sample_rate)
    moments.append(time.perf_counter())
    took_ms = [1000 * (after - before) for before, after in pairwise(moments)]
    print(json.dumps({**dict(zip(("import", "load", "answer"), took_ms, strict=True)), "label": prediction.label}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
