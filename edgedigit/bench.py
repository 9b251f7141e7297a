"""Measure inference and end of word -> answer on this machine, against budgets and beside what people use today.

    python -m edgedigit.bench                      # the shipped models, streams on a virtual clock
    python -m edgedigit.bench --realtime           # every clip streamed in real time, about 8 minutes
    python -m edgedigit.bench --write              # also keep the figures in benchmarks/results/

The answer budget runs from the last sample of the word to the moment the program has the digit: what is left of the
device's block, the silence that tells the end, resampling, features and network. Exit code 1 if a budget is broken.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edgedigit.audio import SAMPLE_RATE, load_waveform
from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.errors import DataError, GateError, MissingDependencyError, ModelError
from edgedigit.labels import DIGIT_OF_WORD, DIGITS
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import latency_summary
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.runtime._paths import RESULTS, artifacts_dir
from edgedigit.runtime.timing import time_calls
from edgedigit.spec import Signal
from edgedigit.word_stream import BLOCK_MS, MICROPHONE_RATE, Clip, StreamScore, build_stream, play, score

BUDGET_INFERENCE_MS = 15.0  # of the 99th percentile
BUDGET_ANSWER_MS = 150.0  # of the 95th percentile
CHECKPOINT = "student.pt"  # beside the exported files: the student that they were made from


def machine_facts(n_threads: int = 1) -> dict:
    """What a latency depends on besides the model: CPU, cores, threads used, runtime and Python versions."""
    try:
        onnxruntime = version("onnxruntime")
    except PackageNotFoundError:
        onnxruntime = None
    return {
        "cpu": _cpu_name(),
        "n_threads": n_threads,
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime,
        "python": platform.python_version(),
        "platform": platform.platform(aliased=True, terse=True),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model")):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine() or "unknown CPU"


def machine_slug(facts: dict) -> str:
    """A file stem for a machine's results, such as `intel-xeon-processor-2-cores`."""
    words = re.sub(r"\((r|tm)\)|@.*", " ", f"{facts['cpu']}".lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {facts['cores']} cores").strip("-")


def load_model(path: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """Waveforms (B, n_samples) to probabilities (B, n_labels) of an ONNX or TorchScript file.

    Raises:
        ModelError: if the file is missing or damaged.
        MissingDependencyError: if its runtime is not installed.
    """
    path = Path(path)
    if path.suffix != ".pt":
        return Recognizer(path).probabilities
    try:
        import torch
    except ImportError:
        raise MissingDependencyError.of("torch", "train") from None
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = torch.jit.load(str(path))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is not a whole TorchScript file ({type(error).__name__}); run export_models.py"
        ) from None

    def probabilities(waveforms: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(waveforms)).numpy()

    return probabilities


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch on one thread inside, as before afterwards; nothing where torch is not installed."""
    try:
        import torch
    except ImportError:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def example_waveform(signal: Signal | None = None) -> np.ndarray:
    """An input (1, *signal.shape), of audio for None, to time; what models compute does not depend on its content."""
    shape = (signal or Signal()).shape
    return np.random.default_rng(0).normal(0, 0.1, (1, *shape)).astype(np.float32)


def time_artifacts(
    paths: Sequence[str | Path], signal: Signal | None = None, n_runs: int = 1000, n_again: int = 0
) -> list[dict]:
    """Time signal -> probabilities of ONNX and TorchScript files in turn, batch 1, one thread; None: audio.

    Args:
        n_again: as in `timing.time_calls`.

    Returns:
        One `metrics.latency_summary` (ms) for each.
    """
    waveform = example_waveform(signal)
    with one_torch_thread():
        models = [load_model(path) for path in paths]
        return time_calls([lambda model=model: model(waveform) for model in models], n_runs, n_again=n_again)


def load_clips(data_dir: str | Path | None = None) -> tuple[list[Clip], str]:
    """Real recordings that no shipped model has trained on, and a sentence that says which.

    Returns:
        FSDD's official test recordings (300), or the sample clips that come with the model where FSDD is not on disk.
    """
    try:
        from edgedigit.data import load_recordings

        recordings = load_recordings(["fsdd"], data_dir, download=False)
    except (DataError, ImportError) as error:  # the runtime extra alone lacks what reading corpora needs
        clips = _sample_clips()
        return clips, f"the {len(clips)} sample clips only: {error}"
    clips = [Clip(r.waveform, r.sample_rate, r.label) for r in recordings if r.split == "test"]
    return clips, f"FSDD official test, {len(clips)} clips"


def _sample_clips() -> list[Clip]:
    clips = []
    for path in sorted((artifacts_dir() / "samples").glob("*")):
        label = next((part for part in re.split(r"[^a-z0-9]+", path.stem.lower()) if part in _LABEL_OF), None)
        if label is not None and path.suffix in (".wav", ".flac", ".ogg"):
            clips.append(Clip(load_waveform(path), SAMPLE_RATE, _LABEL_OF[label]))
    if not clips:
        raise DataError("there are no recordings: name a folder that holds FSDD with --data-dir or EDGEDIGIT_DATA")
    return clips


_LABEL_OF = {**DIGIT_OF_WORD, **{digit: digit for digit in DIGITS}}


def choose_clips(clips: Sequence[Clip], n: int, seed: int = 0) -> list[Clip]:
    """Some of the clips, or all of them for n = 0, shuffled; the same for the same seed."""
    order = np.random.default_rng(seed).permutation(len(clips))
    return [clips[i] for i in order[: n or len(clips)]]


def answer_latency(
    model: str | Path,
    clips: Sequence[Clip],
    realtime: bool = False,
    sample_rate: int = MICROPHONE_RATE,
    block_ms: float = BLOCK_MS,
    seed: int = 0,
    progress: bool = False,
) -> StreamScore:
    """Stream clips through the recogniser that the microphone uses, at the thresholds that its model carries."""
    stream = build_stream(clips, sample_rate, seed=seed)
    engine = StreamingRecognizer(Recognizer(model), sample_rate=sample_rate)
    warm_up = build_stream(clips[:3], sample_rate, seed=seed)
    play(warm_up, engine, block_ms)
    return score(stream.words, play(stream, engine, block_ms, realtime, progress))


def time_recognizers(
    recognizers: dict[str, Callable[[np.ndarray], str | None]], clips: Sequence[Clip], n_rounds: int = 1
) -> dict[str, dict]:
    """Let several recognisers answer each clip in turn, A B A B …, and time each answer.

    Args:
        recognizers: by name; each maps a waveform (T,) to a label, or None for no answer.
        clips: what they hear.
        n_rounds: how often they hear all of it; answers are those of the last round.

    Returns:
        By name: `metrics.latency_summary` (ms) with `n_clips`, `n_correct` and `answers`.
    """
    times_ms = {name: [] for name in recognizers}
    for clip in clips[:5]:
        for recognize in recognizers.values():
            recognize(clip.waveform)
    for _ in range(n_rounds):
        answers = {name: [] for name in recognizers}
        for clip in clips:
            for name, recognize in recognizers.items():
                started = time.perf_counter()
                label = recognize(clip.waveform)
                times_ms[name].append(1000 * (time.perf_counter() - started))
                answers[name].append(label)
    return {
        name: {
            **latency_summary(np.array(times_ms[name])),
            "n_clips": len(clips),
            "n_correct": sum(label == clip.label for label, clip in zip(answers[name], clips, strict=True)),
            "answers": answers[name],
        }
        for name in recognizers
    }


def clip_recognizer(model: str | Path, sample_rate: int = 8000) -> Callable[[np.ndarray], str]:
    """What a program does with one clip: window, features, network, label."""
    recognizer = Recognizer(model)
    return lambda waveform: recognizer.predict(waveform, sample_rate).label


def budgeted_ms(row: dict) -> float:
    """The figure of a row that its budget is about."""
    return row[f"latency_ms_{row['budget_quantile']}"]


def broken_budgets(rows: Sequence[dict]) -> list[str]:
    """One sentence for each row whose figure is above its budget."""
    return [
        f"{row['name']}: {row['budget_quantile']} is {budgeted_ms(row):.1f} ms, the budget is {row['budget_ms']:g} ms"
        for row in rows
        if row.get("budget_ms") is not None and budgeted_ms(row) > row["budget_ms"]
    ]


def check_budgets(rows: Sequence[dict]) -> None:
    """Raise where a budget is broken.

    Raises:
        GateError: naming every broken budget.
    """
    broken = broken_budgets(rows)
    if broken:
        raise GateError("; ".join(broken) + "; close other programs and measure again, or choose a smaller model")


def table(rows: Sequence[dict]) -> str:
    """The rows for reading: one line each."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'measured':<{width}} {'n':>5} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}  ms"]
    for row in rows:
        figures = " ".join(f"{row[f'latency_ms_{key}']:8.3f}" for key in ("p50", "p95", "p99", "max"))
        line = f"{row['name']:<{width}} {row['n']:>5} {figures} "
        if row.get("budget_ms") is not None:
            line += f" budget {row['budget_ms']:g} ({row['budget_quantile']})"
        if row.get("ratio") is not None:
            line += f" {row['ratio']:.1f} times {row['ratio_to']}"
        if row.get("n_correct") is not None:
            line += f" right {row['n_correct']}/{row['n_clips']}"
        if "n_extra" in row:
            line += f", missed {row['n_missed']} ({row['n_rejected']} as unsure), extra {row['n_extra']}"
            line += f", before the end {row['n_before_end']}"
        lines.append(line)
        if "latency_ms_p95_by_end_drop_db" in row:
            lines.append(f"  {_by_end(row)}")
    return "\n".join(lines)


def _by_end(row: dict) -> str:
    ends = row["latency_ms_p95_by_end_drop_db"].items()
    by_drop = ", ".join(f"{drop} dB: {p95:.0f} ms" for drop, p95 in ends)
    return f"p95 if the word ends with its last 10 ms within so many dB of its loudest: {by_drop}"


def run_inference(paths: Sequence[Path], budget_ms: float, n_runs: int) -> list[dict]:
    """Rows of waveform -> probabilities, one for each file."""
    budget = {"budget_ms": budget_ms, "budget_quantile": "p99"}
    return [
        {"name": f"{path.name}: waveform to probabilities", **latency, **budget}
        for path, latency in zip(paths, time_artifacts(paths, n_runs=n_runs), strict=True)
    ]


def answer_name(model: Path, n_words: int, realtime: bool) -> str:
    """Name of a row of end of word -> answer."""
    pace = "in real time" if realtime else "on a virtual clock"
    return f"{model.name}: end of word to answer, {n_words} words {pace}"


def run_answers(model: Path, clips: Sequence[Clip], budget_ms: float, realtime: bool, **how) -> dict:
    """Row of end of word -> answer."""
    measured = answer_latency(model, clips, realtime, **how)
    return measured.row(
        answer_name(model, len(clips), realtime),
        budget_ms=budget_ms,
        budget_quantile="p95",
    )


def run_peers(model: Path, clips: Sequence[Clip], say: Callable[[str], None]) -> list[dict]:
    """Rows of what people use today on the same clips, as ratios; what cannot run here is named and left out."""
    from edgedigit import peers

    recognizers = {model.name: clip_recognizer(model)}
    checkpoint, labels = model.parent / CHECKPOINT, Recognizer(model).info.labels
    for name, make in {peers.PSF_TORCH: lambda: peers.psf_torch(checkpoint, labels), **peers.POCKETSPHINX}.items():
        try:
            recognizers[name] = make()
        except (MissingDependencyError, ModelError) as error:
            say(f"left out: {name}: {error}")
    with one_torch_thread():
        measured = time_recognizers(recognizers, clips)
    base = measured[model.name]["latency_ms_p50"]
    rows = []
    for name, figures in measured.items():
        del figures["answers"]
        rows.append({"name": f"{name}: clip to answer", **figures})
        if name != model.name:
            rows[-1] |= {"ratio": figures["latency_ms_p50"] / base, "ratio_to": model.name}
    return rows


def shipped_files(folder: Path) -> list[Path]:
    """ONNX and TorchScript files in a folder that export_models.py wrote, the default one first.

    Raises:
        ModelError: if its results are missing or malformed.
    """
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        names = [file["file"] for file in results["files"]]
        return [folder / name for name in sorted(names, key=lambda name: (name != results["default"], name))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RESULTS} cannot be used ({error!r}); run export_models.py") from None


def parse_args(argv: Sequence[str] | None = None):
    """Command line; see --help."""
    parser = ArgumentParser(prog="python -m edgedigit.bench", description=__doc__)
    parser.add_argument("--model", type=Path, metavar="ONNX", help="measure this file; default: the shipped ones")
    parser.add_argument("--data-dir", metavar="DIR", help="folder that holds FSDD (else EDGEDIGIT_DATA)")
    parser.add_argument("--realtime", action="store_true", help="stream in real time instead of on a virtual clock")
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="stream this many clips; default: all")
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="inferences timed for each file; 1000")
    parser.add_argument("--sample-rate", type=int, default=MICROPHONE_RATE, metavar="HZ", help="of the stream; 48000")
    parser.add_argument("--block-ms", type=float, default=BLOCK_MS, metavar="MS", help="of a device block; 20")
    parser.add_argument("--seed", type=int, default=0, help="of order, gaps and noise; 0")
    parser.add_argument("--budget-inference-ms", type=float, default=BUDGET_INFERENCE_MS, metavar="MS", help="p99; 15")
    parser.add_argument("--budget-answer-ms", type=float, default=BUDGET_ANSWER_MS, metavar="MS", help="p95; 150")
    parser.add_argument(
        "--write",
        nargs="?",
        type=Path,
        const=Path("benchmarks/results"),
        metavar="DIR",
        help="keep the figures in a file named after the machine; DIR: benchmarks/results",
    )
    args = parser.parse_args(argv)
    for name, least in (("clips", 0), ("runs", 1), ("block_ms", 1)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected {least} or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, keep; returns the exit code."""
    args = parse_args(argv)

    # 1. Models and clips.
    if args.model is None:
        paths = shipped_files(artifacts_dir())
        if find_spec("torch") is None:
            print("left out: TorchScript, since torch is not installed")
            paths = [path for path in paths if path.suffix != ".pt"]
    else:
        paths = [args.model]
    clips, source = load_clips(args.data_dir)
    clips = choose_clips(clips, args.clips, args.seed)
    machine = machine_facts()
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"words: {source}" + (f", {len(clips)} of them" if args.clips else ""))

    # 2. Inference, answers, peers.
    rows = run_inference(paths, args.budget_inference_ms, args.runs)
    rows.append(
        run_answers(
            paths[0],
            clips,
            args.budget_answer_ms,
            args.realtime,
            sample_rate=args.sample_rate,
            block_ms=args.block_ms,
            seed=args.seed,
            progress=sys.stderr.isatty(),
        )
    )
    rows += run_peers(paths[0], clips, print)

    # 3. Table, file, budgets.
    print(table(rows))
    results = {"machine": machine, "commit": source_commit(), "rows": rows}
    results["note"] = f"Words: {source}. Stream: {args.sample_rate} Hz, blocks of {args.block_ms:g} ms. " + "".join(
        f"{_by_end(row)}." for row in rows if "latency_ms_p95_by_end_drop_db" in row
    )
    if args.write is not None:
        path = args.write / f"{machine_slug(machine)}.json"
        write_json(path, results)
        print(f"wrote {path}")
    print_json({**results, "within_budget": not broken_budgets(rows)})
    check_budgets(rows)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
