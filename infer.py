"""Recognise spoken digits, or a model's other words, in files, folders, from the microphone or in EMG, without torch.

python infer.py                                   the sample clips that come with the model
python infer.py seven.wav recordings/ --top-k 3   files and folders; long files may hold several words
python infer.py --mic                             speak; Ctrl-C ends; --record heard.wav keeps what was heard
python infer.py --realtime heard.wav              heard again, as the microphone did
python infer.py --string --checksum luhn --mic    digits in a row, answered together after a pause
python infer.py --model emg.onnx trial.npy more/  EMG, .npy or .csv of (time, channels), one word each
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all, since Ctrl-C may come while the rest is imported
    from edgedigit.interrupt import leave_on_interrupt

    leave_on_interrupt()

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgedigit.answers import N_LAST, Report
from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.errors import AudioError, EmgError, InputError
from edgedigit.interrupt import leave_on_interrupt, raise_on_interrupt

if TYPE_CHECKING:
    from edgedigit.listener import Listener  # which needs numpy, and --help does not
    from edgedigit.runtime import Recognizer

MAX_WORD_S = 1.5  # a longer recording is searched for words


def parse_args(argv: Sequence[str] | None = None):
    """Command line; see --help."""
    parser = ArgumentParser(prog="infer.py", description=__doc__)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="audio file, folder, or - for standard input")
    parser.add_argument("--wav", action="append", default=[], metavar="FILE", help="an INPUT too")
    parser.add_argument("--mic", action="store_true", help="listen to the microphone until Ctrl-C")
    parser.add_argument("--device", metavar="NAME", help="microphone, by number or part of its name")
    parser.add_argument("--realtime", action="store_true", help="play files at the pace of a microphone, as one hears")
    parser.add_argument("--record", type=Path, metavar="WAV", help="with --mic: write all that is heard, as it comes")
    parser.add_argument("--overwrite", action="store_true", help="let --record replace a file")
    parser.add_argument("--list-devices", action="store_true", help="list microphones and exit")
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file; default: the shipped one")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="labels shown per word; default 1")
    parser.add_argument("--json", action="store_true", help="JSON lines: a word, or a file without any; then the sum")
    parser.add_argument("--plain", action="store_true", help="print lines where a terminal would show a display")
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
    args.inputs += args.wav
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
    if args.string and args.top_k > 1:
        parser.error("--top-k is about single words; --n-best shows other strings")
    if args.device is not None and not args.mic:
        parser.error("--device chooses a microphone and needs --mic")
    if args.realtime and not args.inputs:
        parser.error("--realtime plays files and needs them" + (", not --mic" if args.mic else ""))
    if args.record is not None and not args.mic:
        parser.error("--record keeps what a microphone hears and needs --mic")
    if args.overwrite and args.record is None:
        parser.error("--overwrite is about the file of --record and needs it")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    args = parse_args(argv)
    if args.list_devices:
        return list_microphones(args)
    if args.record is not None:
        from edgedigit.recording import check_target

        check_target(args.record, args.overwrite)

    # 1. The model.
    leave_on_interrupt()  # packages make an ImportError, or worse, of what is raised while they are imported
    try:
        recognizer, report, listener = prepare(args)
    finally:
        raise_on_interrupt()

    # 2. Words or strings, from the microphone or from recordings.
    if args.mic:
        listen(listener, args, report)
    elif args.realtime:
        play(listener, args, report)
    else:
        recognize_recordings(recognizer, listener, args.inputs or [default_samples()], report)

    # 3. The summary.
    report.finish(recognizer)
    return 2 if report.n_failed else 0


def prepare(args) -> tuple[Recognizer, Report, Listener | None]:
    """The model, what prints its answers, and what hears streams with it: nothing that takes EMG."""
    from edgedigit.listener import Listener
    from edgedigit.runtime import Recognizer

    recognizer = Recognizer(args.model, args.threads, args.reject_below)
    signal = recognizer.info.signal
    if signal.kind == "emg" and (args.mic or args.realtime or not args.inputs):
        raise InputError(
            f"{recognizer.path.name} takes EMG, {signal.n_channels} channels at {signal.sample_rate} Hz, and no sound; "
            "name .npy or .csv files of it"
        )
    if signal.kind == "emg" and (args.string or args.endpointing):
        raise InputError(
            f"{recognizer.path.name} takes EMG, one word a recording; --string and --endpointing are for sound"
        )
    report = Report(args, recognizer.info.labels, N_LAST if args.mic else None)
    return recognizer, report, None if signal.kind == "emg" else Listener(recognizer, args, report)


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
    from edgedigit.audio import AUDIO_SUFFIXES, find_files
    from edgedigit.emg import EMG_SUFFIXES

    suffixes, kind = (EMG_SUFFIXES, "EMG") if is_emg else (AUDIO_SUFFIXES, "audio")
    for name in inputs:
        if not Path(name).is_dir():
            yield name
            continue
        found = [path for path in find_files(Path(name), "**/*", suffixes) if path.name != "manifest.csv"]
        if not found:
            report.n_inputs += 1
            report.failure(InputError(f"{name} holds no {kind} files ({', '.join(suffixes)})"))
        yield from map(str, found)


def recognize_recording(recognizer, listener: Listener, source: str, report: Report) -> None:
    """A short recording is one word; a longer one, or any with --string, is searched for words."""
    from edgedigit.audio import load_waveform

    rate = recognizer.info.sample_rate
    waveform = load_waveform(content_of(source), rate)
    duration_s = waveform.size / rate
    if duration_s <= MAX_WORD_S and not listener.strings:
        prediction = recognizer.predict(waveform, rate)
        report.word(name_of(source), prediction, 0.0, duration_s, prediction.latency_ms)
        return
    listener.open(name_of(source), rate)
    if not listener.accept(waveform) + listener.flush():
        report.silence(name_of(source), duration_s)


def content_of(source: str):
    """A path, or what comes through standard input."""
    if source != "-":
        return source
    content = io.BytesIO(sys.stdin.buffer.read())
    content.name = name_of(source)
    return content


def name_of(source: str) -> str:
    """What an input is called in reports."""
    return "standard input" if source == "-" else source


def recognize_emg(recognizer, source: str, report: Report) -> None:
    """A recording of EMG is one word, in the window where it moves most."""
    from edgedigit.emg import read_emg

    samples = read_emg(source).T
    prediction = recognizer.predict(samples)
    report.word(source, prediction, 0.0, len(samples) / recognizer.info.sample_rate, prediction.latency_ms)


def listen(listener: Listener, args, report: Report) -> None:
    """Words or strings from the microphone until Ctrl-C; a device that has gone is waited for."""
    from edgedigit.live import Session, ended_by_sigterm, own_stderr
    from edgedigit.recording import Recording
    from edgedigit.runtime.lasting_microphone import LastingMicrophone

    def title() -> str:
        return f"{microphone.name} at {microphone.sample_rate} Hz"

    def gone(line: str) -> None:
        session.end()
        report.notice(line)

    def back(line: str) -> None:
        session.begin("microphone", microphone.sample_rate, title())
        report.notice(line)

    start = time.monotonic()
    with (
        ended_by_sigterm(),
        own_stderr(),
        LastingMicrophone(args.device, gone, back, on_lost=report.notice, on_doubt=report.notice) as microphone,
        ExitStack() as stack,
    ):
        session = Session(listener, stack.enter_context(shown(args, report, lambda: microphone.overruns)))
        if args.record is not None:
            session.recording = Recording(args.record, microphone.sample_rate, args.overwrite, report.failure)
            stack.callback(session.recording.close)
        session.begin("microphone", microphone.sample_rate, title())
        report.notice(f"listening to {title()}; Ctrl-C ends")
        session.follow(microphone, lambda: microphone.captured_s)
        session.end()
        report.n_inputs = 1
        report.extra = {
            "listened_s": round(time.monotonic() - start, 1),
            "overruns": microphone.overruns,
            "interruptions": microphone.n_gone,
        }
        if microphone.overruns:
            report.notice(f"overruns: {microphone.overruns}; the machine did not keep up, and sound was lost")
        if session.recording:
            report.extra |= {"recorded": str(args.record), "recorded_s": round(session.recording.duration_s, 1)}


def play(listener: Listener, args, report: Report) -> None:
    """Words or strings in recordings that are heard as from a microphone: at their rate, block by block, in time."""
    from edgedigit.audio import read_audio
    from edgedigit.live import Paced, Session, ended_by_sigterm

    with ended_by_sigterm(), shown(args, report) as display:
        session = Session(listener, display)
        for source in recordings(args.inputs, report, is_emg=False):
            report.n_inputs += 1
            try:
                waveform, sample_rate = read_audio(content_of(source))
                session.begin(name_of(source), sample_rate)
            except AudioError as error:
                report.failure(error)
                continue
            n_before = session.n_answers
            blocks = Paced(waveform, sample_rate)
            session.follow(blocks, lambda blocks=blocks: blocks.captured_s)
            session.end()
            if session.stopped:
                return
            if session.n_answers == n_before:
                report.silence(name_of(source), waveform.size / sample_rate)


@contextmanager
def shown(args, report: Report, overruns: Callable[[], int] = lambda: 0):
    """A display on the terminal, which the report then writes to; None where lines are wanted, or must do."""
    can_draw = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "utf" in sys.stdout.encoding.lower()
    if args.json or args.plain or not can_draw or not find_spec("rich"):
        yield None
        return
    from edgedigit.display import Display
    from edgedigit.recording import WordClips

    with Display(report.labels, report.header, keys=sys.stdin.isatty(), overruns=overruns) as display:
        folder = args.record.parent if args.record else Path()
        display.clips = WordClips(folder, lambda path: display.notice(f"wrote {path}"), report.failure)
        report.display = display
        yield display
        report.display = None


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
