"""Recognise spoken digits, or a model's other words, in files, folders, from the microphone or in EMG, without torch.

python infer.py                                   the sample clips that come with the model
python infer.py seven.wav recordings/ --top-k 3   files and folders; long files may hold several words
python infer.py --mic                             speak; Ctrl-C ends
python infer.py --model emg.onnx trial.npy more/  EMG, .npy or .csv of (time, channels), one word each
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_error, print_json, run_main
from edgedigit.errors import AudioError, DeviceError, EmgError, InputError
from edgedigit.labels import kind_of

MAX_WORD_S = 1.5  # a longer recording is searched for words


def parse_args(argv: Sequence[str] | None = None):
    """Command line; see --help."""
    parser = ArgumentParser(prog="infer.py", description=__doc__)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="audio file, folder, or - for standard input")
    parser.add_argument("--mic", action="store_true", help="listen to the microphone until Ctrl-C")
    parser.add_argument("--device", metavar="NAME", help="microphone, by number or part of its name")
    parser.add_argument("--list-devices", action="store_true", help="list microphones and exit")
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file; default: the shipped one")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="labels shown per word; default 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object per word and nothing else")
    parser.add_argument(
        "--reject-below", type=float, metavar="P", help="say no digit below this probability; default: the model's"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the network; default 1")
    args = parser.parse_args(argv)
    if args.top_k < 1:
        parser.error(f"--top-k is {args.top_k}, expected 1 or more")
    if args.reject_below is not None and not 0 <= args.reject_below <= 1:
        parser.error(f"--reject-below is {args.reject_below}, expected a probability, 0 to 1")
    if "" in args.inputs:
        parser.error("an INPUT is empty; name an audio file or a folder")
    if args.mic and args.inputs:
        parser.error("--mic and files exclude each other")
    if args.device is not None and not args.mic:
        parser.error("--device chooses a microphone and needs --mic")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = parse_args(argv)
    if args.list_devices:
        return list_microphones(args)

    # 1. The model.
    from edgedigit.runtime import Recognizer

    recognizer = Recognizer(args.model, args.threads, args.reject_below)
    signal = recognizer.info.signal
    if signal.kind == "emg" and (args.mic or not args.inputs):
        raise InputError(
            f"{recognizer.path.name} takes EMG, {signal.n_channels} channels at {signal.sample_rate} Hz, and no sound; "
            "name .npy or .csv files of it"
        )

    # 2. Words, from the microphone or from recordings.
    report = Report(args, recognizer.info.labels)
    if args.mic:
        listen(recognizer, args.device, report)
    else:
        recognize_recordings(recognizer, args.inputs or [default_samples()], report)

    # 3. The summary.
    report.finish(recognizer)
    return 2 if report.n_failed else 0


class Report:
    """Prints a line per word as it comes, and counts."""

    def __init__(self, args, labels: Sequence[str]):
        self._kind = kind_of(labels)
        self._width = max(len(self._kind), *map(len, labels))
        self._json, self._top_k = args.json, args.top_k
        self._header_printed = False
        self.results: list[dict] = []
        self.n_inputs = self.n_failed = 0
        self.extra: dict = {}

    def word(self, source: str, prediction, start_s: float, end_s: float, latency_ms: float) -> None:
        """One recognised word."""
        result = {
            "source": source,
            "label": None if prediction.rejected else prediction.label,
            "probability": round(prediction.probability, 4),
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
            "latency_ms": round(latency_ms, 3),
            "top": [{"label": label, "probability": round(p, 4)} for label, p in prediction.top(self._top_k)],
        }
        self.results.append(result)
        if self._json:
            print_json(result)
            return
        alternatives = ", ".join(f"{top['label']} {top['probability']:.3f}" for top in result["top"][1:])
        self._row(
            result["label"] or "-",
            f"{prediction.probability:.3f}",
            f"{start_s:.2f}-{end_s:.2f}",
            f"{latency_ms:.1f}",
            f"{source}  {alternatives}".rstrip(),
        )

    def silence(self, source: str, duration_s: float) -> None:
        """A recording in which no word was found."""
        if not self._json:
            self._row("-", "-", f"0.00-{duration_s:.2f}", "-", f"{source}  no word")

    def _row(self, *cells: str) -> None:
        if not self._header_printed:
            self._header_printed = True
            self._row(self._kind, "prob", "seconds", "ms", "source")
        print("{:>{}}  {:>5}  {:>11}  {:>6}  {}".format(cells[0], self._width, *cells[1:]), flush=True)

    def failure(self, error: Exception) -> None:
        """An input that cannot be used; the others are."""
        self.n_failed += 1
        print_error(error)

    def finish(self, recognizer) -> None:
        """The closing line: one JSON object."""
        latencies = sorted(result["latency_ms"] for result in self.results)
        summary = {
            "model": recognizer.path.name,
            "version": recognizer.info.version,
            "n_inputs": self.n_inputs,
            "n_failed": self.n_failed,
            "n_words": len(self.results),
            "latency_ms_p50": latencies[len(latencies) // 2] if latencies else None,
            **self.extra,
        }
        print_json(summary if self._json else {**summary, "results": self.results})


def recognize_recordings(recognizer, inputs: Iterable[str], report: Report) -> None:
    """Each recording of `inputs`; one that cannot be used costs its own line only."""
    is_emg = recognizer.info.signal.kind == "emg"
    for source in recordings(inputs, report, is_emg):
        report.n_inputs += 1
        try:
            (recognize_emg if is_emg else recognize_recording)(recognizer, source, report)
        except (AudioError, EmgError) as error:
            report.failure(error)


def recordings(inputs: Iterable[str], report: Report, is_emg: bool) -> Iterator[str]:
    """Files named by `inputs`; folders are searched for audio files, or those of EMG."""
    from edgedigit.audio import AUDIO_SUFFIXES
    from edgedigit.emg import EMG_SUFFIXES

    suffixes, kind = (EMG_SUFFIXES, "EMG") if is_emg else (AUDIO_SUFFIXES, "audio")
    for name in inputs:
        if not Path(name).is_dir():
            yield name
            continue
        found = sorted(path for path in Path(name).rglob("*") if path.suffix.lower() in suffixes)
        found = [path for path in found if path.name != "manifest.csv"]
        if not found:
            report.n_inputs += 1
            report.failure(InputError(f"{name} holds no {kind} files ({', '.join(suffixes)})"))
        yield from map(str, found)


def recognize_recording(recognizer, source: str, report: Report) -> None:
    """A short recording is one word; a longer one is searched for words."""
    from edgedigit.audio import load_waveform
    from edgedigit.runtime import StreamingRecognizer

    rate = recognizer.info.sample_rate
    if source == "-":
        content = io.BytesIO(sys.stdin.buffer.read())
        content.name = "standard input"
        waveform, name = load_waveform(content, rate), content.name
    else:
        waveform, name = load_waveform(source, rate), source
    duration_s = waveform.size / rate
    if duration_s <= MAX_WORD_S:
        prediction = recognizer.predict(waveform, rate)
        report.word(name, prediction, 0.0, duration_s, prediction.latency_ms)
        return
    stream = StreamingRecognizer(recognizer, sample_rate=rate)
    words = [event for event in stream.accept(waveform) + stream.flush() if event.prediction]
    for event in words:
        report.word(name, event.prediction, event.start_s, event.end_s, event.prediction.latency_ms)
    if not words:
        report.silence(name, duration_s)


def recognize_emg(recognizer, source: str, report: Report) -> None:
    """A recording of EMG is one word, in the window where it moves most."""
    from edgedigit.emg import read_emg

    samples = read_emg(source).T
    prediction = recognizer.predict(samples)
    report.word(source, prediction, 0.0, len(samples) / recognizer.info.sample_rate, prediction.latency_ms)


def listen(recognizer, device: str | None, report: Report) -> None:
    """Words from the microphone until Ctrl-C or until the device goes."""
    from edgedigit.runtime import StreamingRecognizer
    from edgedigit.runtime.microphone import Microphone

    start = time.monotonic()
    with Microphone(device) as microphone:
        stream = StreamingRecognizer(recognizer, sample_rate=microphone.sample_rate)
        print(f"listening to {microphone.device.name} at {microphone.sample_rate} Hz; Ctrl-C ends", file=sys.stderr)
        try:
            for block in microphone:
                for event in stream.accept(block):
                    if event.prediction:
                        report.word("microphone", event.prediction, event.start_s, event.end_s, event.latency_ms)
        except KeyboardInterrupt:
            print(file=sys.stderr)
            for event in stream.flush():  # the word that is being said
                if event.prediction:
                    report.word("microphone", event.prediction, event.start_s, event.end_s, event.latency_ms)
        except DeviceError as error:
            report.failure(error)
        report.n_inputs = 1
        report.extra = {"listened_s": round(time.monotonic() - start, 1), "overruns": microphone.overruns}


def list_microphones(args) -> int:
    """Table and JSON of the devices that can record."""
    from dataclasses import asdict

    from edgedigit.runtime.microphone import list_devices

    devices = list_devices()
    if not args.json:
        for device in devices:
            mark = "*" if device.default else " "
            print(f"{mark}{device.number:>3}  {device.sample_rate:>6} Hz  {device.name}")
        if not devices:
            print("no microphone found")
    print_json({"devices": [asdict(device) for device in devices]})
    return 0


def default_samples() -> str:
    """The clips that come with the model."""
    from edgedigit.runtime._paths import artifacts_dir

    return str(artifacts_dir() / "samples")


if __name__ == "__main__":
    sys.exit(run_main(main))
