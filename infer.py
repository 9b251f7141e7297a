"""Recognise spoken digits, or a model's other words, in files, folders, from the microphone or in EMG, without torch.

python infer.py                                   the sample clips that come with the model
python infer.py seven.wav recordings/ --top-k 3   files and folders; long files may hold several words
python infer.py --mic                             speak; Ctrl-C ends
python infer.py --string --checksum luhn --mic    digits in a row, answered together after a pause
python infer.py --model emg.onnx trial.npy more/  EMG, .npy or .csv of (time, channels), one word each
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_error, print_json, run_main
from edgedigit.errors import AudioError, EmgError, InputError
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
    parser.add_argument(
        "--endpointing", metavar="WHAT", help="webrtc, silero, or Silero's ONNX file; default: what the model says"
    )
    strings = parser.add_argument_group("digits in a row")
    strings.add_argument("--string", action="store_true", help="answer digits together, at a pause")
    strings.add_argument("--length", type=int, metavar="N", help="so many digits are expected")
    strings.add_argument("--checksum", metavar="NAME", help="that the digits keep: luhn or mod97")
    strings.add_argument("--n-best", type=int, metavar="K", help="strings shown; default 1")
    strings.add_argument("--pause-ms", type=float, metavar="MS", help="silence that ends a string; default 1200")
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
    given = [name for name in ("length", "checksum", "n_best", "pause_ms") if getattr(args, name) is not None]
    if given and not args.string:
        parser.error(f"--{given[0].replace('_', '-')} is about digits in a row and needs --string")
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

    # 2. Words or strings, from the microphone or from recordings.
    report = Report(args, recognizer.info.labels)
    listener = None if signal.kind == "emg" else Listener(recognizer, args, report)
    if args.mic:
        listen(listener, args, report)
    else:
        recognize_recordings(recognizer, listener, args.inputs or [default_samples()], report)

    # 3. The summary.
    report.finish(recognizer)
    return 2 if report.n_failed else 0


class Listener:
    """Streams of words or, with --string, of strings; reports what is heard in them."""

    def __init__(self, recognizer, args, report: Report):
        self._recognizer, self._report = recognizer, report
        self._options, self._silero = endpointing(recognizer, args.endpointing) if args.endpointing else (None, None)
        self.strings = string_collector(recognizer, args) if args.string else None
        if args.endpointing:  # what cannot work is told before anything is read
            self.open("", recognizer.info.sample_rate)

    def open(self, source: str, sample_rate: int) -> None:
        """Begin a stream; its source is named in what is reported."""
        from edgedigit.runtime import StreamingRecognizer

        self._source = source
        self._stream = StreamingRecognizer(self._recognizer, self._options, sample_rate, silero_model=self._silero)
        if self.strings:
            self.strings.reset()

    def accept(self, samples) -> int:
        """Take samples; how many answers there were."""
        events = self._stream.accept(samples)
        return self._report_on(events, self.strings and self.strings.accept(events, self._stream.time_s))

    def flush(self) -> int:
        """End the stream, with the word that is being said; how many answers there were."""
        events = self._stream.flush()
        return self._report_on(events, self.strings and self.strings.flush(events))

    def _report_on(self, events, strings) -> int:
        if self.strings:
            for string in strings:
                self._report.string(self._source, string)
            return len(strings)
        words = [event for event in events if event.kind in ("digit", "rejected")]
        for word in words:
            self._report.word(self._source, word.prediction, word.start_s, word.end_s, word.latency_ms)
        return len(words)


def endpointing(recognizer, wanted: str):
    """Thresholds for what --endpointing says, and the path of Silero's file, where one is named."""
    from dataclasses import replace

    from edgedigit.runtime.vad import DETECTORS, VadOptions

    options = VadOptions.from_dict(recognizer.info.thresholds.get("vad", {}))
    if wanted in DETECTORS:
        return replace(options, detector=wanted), None
    if not Path(wanted).is_file():
        raise InputError(f"--endpointing is {wanted!r}, expected {', '.join(DETECTORS)} or Silero's ONNX file")
    return replace(options, detector="silero"), wanted


def string_collector(recognizer, args):
    """What gathers digits into strings, as the command line wants them."""
    from edgedigit.runtime.digit_string import DigitStringCollector, StringOptions

    given = {name: getattr(args, name) for name in ("length", "checksum", "n_best", "pause_ms")}
    options = StringOptions(**{"n_best": 1, **{name: value for name, value in given.items() if value is not None}})
    return DigitStringCollector(recognizer, options)


class Report:
    """Prints a line per word as it comes, and counts."""

    def __init__(self, args, labels: Sequence[str]):
        self._kind = kind_of(labels)
        self._width = max(len(self._kind), *map(len, labels), 10 if args.string else 0)
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

    def string(self, source: str, string) -> None:
        """Digits in a row, after the pause that ends them."""
        result = {
            "source": source,
            "digits": string.digits,
            "probability": round(string.probability, 4),
            "start_s": round(string.start_s, 3),
            "end_s": round(string.end_s, 3),
            "n_best": [{"digits": digits, "probability": round(p, 4)} for digits, p in string.n_best],
            "satisfied": string.satisfied,
            "heard": string.heard,
        }
        self.results.append(result)
        if self._json:
            print_json(result)
            return
        notes = [f"{digits} {p:.3f}" for digits, p in string.n_best[1:]]
        notes += [f"heard {string.heard}"] if string.corrected else []
        notes += ["not as expected"] if string.satisfied is False else []
        cells = string.digits, f"{string.probability:.3f}", f"{string.start_s:.2f}-{string.end_s:.2f}"
        self._row(*cells, "-", f"{source}  {', '.join(notes)}".rstrip())

    def silence(self, source: str, duration_s: float) -> None:
        """A recording in which no word was found."""
        if not self._json:
            self._row("-", "-", f"0.00-{duration_s:.2f}", "-", f"{source}  no word")

    def _row(self, *cells: str) -> None:
        if not self._header_printed:
            self._header_printed = True
            self._row(self._kind, "prob", "seconds", "ms", "source")
        print("{:>{}}  {:>5}  {:>11}  {:>6}  {}".format(cells[0], self._width, *cells[1:]), flush=True)

    def notice(self, line: str) -> None:
        """What happens to the source; no part of the answers."""
        print(line, file=sys.stderr, flush=True)

    def failure(self, error: Exception) -> None:
        """An input that cannot be used; the others are."""
        self.n_failed += 1
        print_error(error)

    def finish(self, recognizer) -> None:
        """The closing line: one JSON object."""
        latencies = sorted(result["latency_ms"] for result in self.results if "latency_ms" in result)
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


def recognize_recordings(recognizer, listener: Listener | None, inputs: Iterable[str], report: Report) -> None:
    """Each recording of `inputs`; one that cannot be used costs its own line only."""
    for source in recordings(inputs, report, is_emg=listener is None):
        report.n_inputs += 1
        try:
            if listener is None:
                recognize_emg(recognizer, source, report)
            else:
                recognize_recording(recognizer, listener, source, report)
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


def recognize_recording(recognizer, listener: Listener, source: str, report: Report) -> None:
    """A short recording is one word; a longer one, or any with --string, is searched for words."""
    from edgedigit.audio import load_waveform

    rate = recognizer.info.sample_rate
    if source == "-":
        content = io.BytesIO(sys.stdin.buffer.read())
        content.name = "standard input"
        waveform, name = load_waveform(content, rate), content.name
    else:
        waveform, name = load_waveform(source, rate), source
    duration_s = waveform.size / rate
    if duration_s <= MAX_WORD_S and not listener.strings:
        prediction = recognizer.predict(waveform, rate)
        report.word(name, prediction, 0.0, duration_s, prediction.latency_ms)
        return
    listener.open(name, rate)
    if not listener.accept(waveform) + listener.flush():
        report.silence(name, duration_s)


def recognize_emg(recognizer, source: str, report: Report) -> None:
    """A recording of EMG is one word, in the window where it moves most."""
    from edgedigit.emg import read_emg

    samples = read_emg(source).T
    prediction = recognizer.predict(samples)
    report.word(source, prediction, 0.0, len(samples) / recognizer.info.sample_rate, prediction.latency_ms)


def listen(listener: Listener, args, report: Report) -> None:
    """Words or strings from the microphone until Ctrl-C; a device that has gone is waited for."""
    from edgedigit.live import follow, own_stderr
    from edgedigit.runtime.lasting_microphone import LastingMicrophone

    def gone(line: str) -> None:
        listener.flush()
        report.notice(line)

    def back(line: str) -> None:
        listener.open("microphone", microphone.sample_rate)
        report.notice(line)

    start = time.monotonic()
    with own_stderr(), LastingMicrophone(args.device, gone, back) as microphone:
        listener.open("microphone", microphone.sample_rate)
        report.notice(f"listening to {microphone.name} at {microphone.sample_rate} Hz; Ctrl-C ends")
        follow(microphone, [listener.accept], lambda: False)
        listener.flush()
        report.n_inputs = 1
        report.extra = {
            "listened_s": round(time.monotonic() - start, 1),
            "overruns": microphone.overruns,
            "interruptions": microphone.n_gone,
        }
        if microphone.overruns:
            report.notice(f"sound was lost {microphone.overruns} times: the machine did not keep up")


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
