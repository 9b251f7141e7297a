"""How fast the page infers in Chromium, and how often it answers as Python does.

EDGEDIGIT_DATA=... python docs/measure_page.py

Reads FSDD's official test clips through the page's own file input: one by one, and strung together with random gaps and
noise, at 8 kHz and at a microphone's 44.1 kHz. Prints the figures of each shipped ONNX file and ends with one line of
JSON.
Needs Chromium and pip install "edgedigit[dev]".
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soxr

from edgedigit.audio import load_waveform, write_wav
from edgedigit.cli import print_json, run_main
from edgedigit.data.download import find_data_dir
from edgedigit.errors import InputError
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.serve.chromium import chromium, serving
from edgedigit.serve.site import site_files

MODELS = ("model_int8.onnx", "model.onnx")
N_ROUNDS = 8  # the models are timed in turn, so that what else runs on the computer meets both
N_RUNS = 250  # a round
N_WARM = 50
WORDS_PER_STREAM = 50  # the page's table holds 100 rows
GAPS_S = (0.12, 0.6)
SNR_DB = 30
TIME = """async ([runs, warm]) => {
  const { loadRecognizer } = await import("./load.js");
  globalThis.measured ??= await loadRecognizer();
  const recognizer = globalThis.measured;
  const window = Float32Array.from({length: recognizer.info.nSamples}, (_, i) => 0.1 * Math.sin(i * i));
  const times = [];
  for (let i = 0; i < warm + runs; i++) {
    const start = performance.now();
    await recognizer.probabilities(window);
    if (i >= warm) times.push(performance.now() - start);
  }
  return times;
}"""
ROWS = """rows => rows.filter((row) => row.dataset.best).map(({dataset, cells}) => ({
  best: dataset.best, label: dataset.label, probability: Number(dataset.probability), seconds: cells[2].textContent,
})).reverse()"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both models; returns the exit code."""
    clips = sorted((find_data_dir() / "fsdd" / "recordings").glob("*_[0-4].wav"))
    if not clips:
        raise InputError("FSDD is not in EDGEDIGIT_DATA; name the folder that holds fsdd/recordings")
    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pages = {name: open_page(name, browser, stack) for name in MODELS}
        results = time_in_turn(pages)
        for name, page in pages.items():
            results[name] |= compare(page, Recognizer(artifacts_dir() / name), clips, folder)
            print(name, *(f"  {key}: {value}" for key, value in results[name].items()), sep="\n", flush=True)
        print_json({"chromium": browser.version, "models": results})
    return 0


def open_page(model: str, browser, stack: ExitStack):
    """The page with one model, served until `stack` is closed."""
    url, _ = stack.enter_context(serving(site_files(artifacts_dir() / model)))
    page = browser.new_page()
    page.goto(url)
    page.wait_for_selector("#listen:enabled", timeout=60_000)
    return page


def time_in_turn(pages: dict) -> dict:
    """Milliseconds from a window of samples to probabilities."""
    times = {name: [] for name in pages}
    for _ in range(N_ROUNDS):
        for name, page in pages.items():
            page.bring_to_front()
            times[name] += page.evaluate(TIME, [N_RUNS, N_WARM])
    return {
        name: {
            "n_runs": len(values),
            "latency_ms_min": round(min(values), 3),
            **{f"latency_ms_p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95, 99)},
        }
        for name, values in times.items()
    }


def compare(page, recognizer: Recognizer, clips: Sequence[Path], folder: Path) -> dict:
    """How often the page answers as Python does."""
    result = {}
    samples = sorted((artifacts_dir() / "samples").glob("*.wav"))
    for name, paths in (("samples", samples), ("fsdd_test", clips)):
        mine = [row for i in range(0, len(paths), 100) for row in rows_of(page, paths[i : i + 100])]
        theirs = recognizer.predict([str(path) for path in paths])
        pairs = list(zip(mine, theirs, strict=True))
        difference = max(abs(a["probability"] - b.probability) for a, b in pairs)
        result[name] = {
            "n": len(paths),
            "same_best_label": sum(a["best"] == b.label for a, b in pairs),
            "same_decision": sum(a["label"] == ("" if b.rejected else b.label) for a, b in pairs),
            "max_probability_difference": float(f"{difference:.2g}"),
        }
    result["fsdd_test"]["n_correct"] = sum(row["best"] == path.name[0] for row, path in zip(mine, clips, strict=True))
    for rate in (8000, 44100):
        result[f"streams_{rate}_hz"] = compare_streams(page, recognizer, clips, rate, folder)
    return result


def compare_streams(page, recognizer: Recognizer, clips: Sequence[Path], rate: int, folder: Path) -> dict:
    """All clips in random order, `WORDS_PER_STREAM` to a recording: words that both heard, at the same time."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(clips))
    counts = {"n_python": 0, "n_page": 0, "same_times": 0, "same_decision": 0}
    for first in range(0, len(order), WORDS_PER_STREAM):
        parts = [np.zeros(8000)]
        for i in order[first : first + WORDS_PER_STREAM]:
            parts += [load_waveform(clips[i]), np.zeros(int(8000 * rng.uniform(*GAPS_S)))]
        waveform = np.concatenate(parts)
        waveform += rng.normal(0, np.sqrt(np.mean(waveform**2)) * 10 ** (-SNR_DB / 20), waveform.size)
        path = folder / "stream.wav"
        write_wav(path, soxr.resample(waveform, 8000, rate), rate)
        stream = StreamingRecognizer(recognizer, sample_rate=rate)
        events = stream.accept(load_waveform(path, rate)) + stream.flush()
        theirs = {
            f"{event.start_s:.2f}–{event.end_s:.2f}": event.label if event.kind == "digit" else ""
            for event in events
            if event.prediction
        }
        mine = {row["seconds"]: row["label"] for row in rows_of(page, [path])}
        counts["n_python"] += len(theirs)
        counts["n_page"] += len(mine)
        counts["same_times"] += len(mine.keys() & theirs.keys())
        counts["same_decision"] += sum(theirs.get(seconds) == label for seconds, label in mine.items())
    return counts


def rows_of(page, paths: Sequence[Path]) -> list[dict]:
    """Put files into the page; its answers, oldest first."""
    page.click("#clear")
    page.set_input_files("#file", [str(path) for path in paths])
    page.wait_for_function(
        "(name) => document.getElementById('status').textContent.startsWith(name + ':')", arg=paths[-1].name
    )
    rows = page.eval_on_selector_all("#answers tr", ROWS)
    page.evaluate("() => { document.getElementById('status').textContent = ''; }")  # the next may have the same name
    return rows


if __name__ == "__main__":
    sys.exit(run_main(main))
