"""infer.py: a table for people, one JSON line for programs, one clear line for each bad input."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnx")
from tiny_model import build_tiny_model, silence, speak, tone_word

import infer
from edgedigit import recording
from edgedigit.audio import write_wav
from edgedigit.cli import ArgumentParser, run_main
from edgedigit.errors import DeviceError, GateError
from edgedigit.runtime import lasting_microphone, microphone

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    (folder / "inner").mkdir(parents=True)
    write_wav(folder / "3.wav", tone_word(3))
    soundfile.write(
        folder / "inner/8.flac", np.stack([tone_word(8, sample_rate=48000)] * 2, 1), 48000, subtype="PCM_24"
    )
    for name in ("notes.txt", "._3.wav"):
        (folder / name).write_text("not audio, not looked at")
    return folder


def test_folder_is_searched_and_summed_up(run, clips):
    code, out, err = run(clips)
    assert (code, err) == (0, [])
    summary = json.loads(out[-1])
    assert [result["label"] for result in summary["results"]] == ["3", "8"]
    assert summary["n_inputs"] == summary["n_words"] == 2 and summary["latency_ms_p50"] > 0
    assert out[0].split() == ["digit", "prob", "seconds", "ms", "source"]
    assert out[1].split()[0] == "3" and out[1].endswith("3.wav")


def test_json_lines_only(run, clips):
    code, out, _ = run(clips / "3.wav", "--json", "--top-k", "2")
    word, summary = map(json.loads, out)
    assert code == 0 and word["label"] == "3" and len(word["top"]) == 2
    assert summary["n_words"] == 1


@pytest.mark.parametrize("flag", ["--top-k", "--top_k"])
def test_both_spellings_of_a_flag(run, clips, flag):
    _, out, _ = run(clips / "3.wav", flag, "3")
    assert len(json.loads(out[-1])["results"][0]["top"]) == 3


def test_long_recording_gives_every_word_with_its_time(run, tmp_path):
    waveform = np.concatenate([speak("40719", gap_s=0.8), silence(3.0)])
    write_wav(tmp_path / "long.wav", waveform[:80000])
    code, out, _ = run(tmp_path / "long.wav")
    results = json.loads(out[-1])["results"]
    assert code == 0 and [result["label"] for result in results] == list("40719")
    assert [result["start_s"] for result in results] == pytest.approx([0.5, 1.7, 2.9, 4.1, 5.3], abs=0.03)


def test_bad_inputs_cost_a_line_each_and_the_others_are_read(run, clips, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 8000, subtype="FLOAT")
    reasons = {
        "text.wav": "not an audio file",
        "empty.wav": "empty (0 bytes)",
        "nan.wav": "NaN",
        "missing.wav": "no such file",
        "nothing": "holds no audio file",
    }
    bad = [tmp_path / name for name in reasons]
    code, out, err = run(*bad, clips / "3.wav")
    assert code == 2
    assert len(err) == len(bad)
    for line, path in zip(err, bad, strict=True):
        assert line.startswith("error: ") and path.name in line and reasons[path.name] in line
    summary = json.loads(out[-1])
    assert summary["n_failed"] == 5 and [result["label"] for result in summary["results"]] == ["3"]


def test_truncated_model_is_one_line(clips, tiny_model, tmp_path, capsys):
    (tmp_path / "cut.onnx").write_bytes(tiny_model.read_bytes()[:5000])
    assert run_main(infer.main, [str(clips), "--model", str(tmp_path / "cut.onnx")]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and "cut.onnx" in output.err


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"thresholds": '{"vad": {"patience_ms": 3}}'}, "unknown VAD thresholds patience_ms"),
        ({"thresholds": '{"vad": []}'}, "VAD thresholds are []"),
        ({"sample_rate": "11025"}, "webrtcvad works at"),
    ],
)
def test_thresholds_of_endpointing_that_cannot_work_are_told_before_any_answer(
    clips, tmp_path, capsys, metadata, words
):
    model = build_tiny_model(tmp_path / "m.onnx", **metadata)
    assert run_main(infer.main, [str(clips), "--model", str(model)]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and words in output.err


def test_unsure_answer_is_shown_as_none(run, tmp_path):
    write_wav(tmp_path / "quiet.wav", silence(1))
    _, out, _ = run(tmp_path / "quiet.wav")
    assert json.loads(out[-1])["results"][0]["label"] is None
    assert out[1].split()[0] == "-"


@pytest.mark.parametrize(("flags", "key"), [((), "label"), (("--realtime",), "label"), (("--string",), "digits")])
def test_a_file_without_a_word_has_a_json_line_too(run, tmp_path, flags, key):
    write_wav(tmp_path / "quiet.wav", silence(2.0))
    code, out, _ = run("--wav", tmp_path / "quiet.wav", "--json", *flags)
    found, summary = map(json.loads, out)
    assert code == 0 and (summary["n_inputs"], summary["n_words"]) == (1, 0)
    assert found["source"].endswith("quiet.wav") and found[key] is None and found["end_s"] == 2.0
    assert found["probability"] is None and found["n_best" if key == "digits" else "top"] == []


def test_standard_input_through_a_pipe(tiny_model):
    content = io.BytesIO()
    write_wav(content, tone_word(5))
    command = [sys.executable, "infer.py", "-", "--json", "--model", str(tiny_model)]
    result = subprocess.run(command, cwd=ROOT, input=content.getvalue(), capture_output=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[0])["label"] == "5"
    result = subprocess.run(command, cwd=ROOT, input=b"", capture_output=True)
    assert result.returncode == 2 and b"standard input is empty" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name is any bytes")
@pytest.mark.parametrize(
    ("name", "encoding", "options"),
    [
        (b"f\xfcnf.wav", "utf-8:strict", []),
        (b"f\xfcnf.wav", "utf-8:strict", ["--json"]),
        ("fünf.wav".encode(), "ascii", []),
        ("fünf.wav".encode(), "ascii", ["--json"]),
    ],
)
def test_a_name_that_the_output_cannot_write_is_told_in_escapes(tiny_model, tmp_path, name, encoding, options):
    path = os.fsencode(tmp_path) + b"/" + name
    write_wav(path, tone_word(5))
    write_wav(tmp_path / "6.wav", tone_word(6))
    command = [sys.executable, "infer.py", path, str(tmp_path / "6.wav"), "--model", str(tiny_model), *options]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": encoding}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    lines = [line.decode(encoding.partition(":")[0]) for line in result.stdout.splitlines()]
    answers = [json.loads(line) for line in lines[:2]] if options else json.loads(lines[-1])["results"]
    assert [answer["label"] for answer in answers] == ["5", "6"] and json.loads(lines[-1])["n_failed"] == 0
    assert os.fsencode(answers[0]["source"]) == path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--top-k", "0"],
        ["--mic", "a.wav"],
        ["--device", "1"],
        ["--record", "a.wav"],
        ["--mic", "--overwrite"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        infer.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_loads_nothing_heavy():
    code = """
import sys, infer
try:
    infer.main(["--help"])
except SystemExit as stop:
    print(stop.code, sorted({"numpy", "onnxruntime", "soundfile"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "python infer.py --mic" in result.stdout and result.stdout.endswith("0 []\n")


class FakeMicrophone:
    """Plays its script: for each time that it is opened the digits, how that ends, and the rate.

    A device that goes does so within its last word.
    """

    overruns, script = 1, []
    captured_s = property(lambda _self: time.monotonic())  # nothing ever waits

    def __init__(self, device):
        self.digits, self.ending, self.sample_rate = self.script.pop(0)
        self.device = microphone.InputDevice(0, "fake", self.sample_rate, 1, True)

    def __enter__(self):
        if self.digits is None:
            raise self.ending
        self.blocks = self.deliver()
        return self

    def __exit__(self, *_):
        pass

    def __str__(self):
        return "microphone 0 (fake)"

    def __iter__(self):
        return self.blocks

    def deliver(self):
        waveform = speak(self.digits, sample_rate=self.sample_rate)
        if isinstance(self.ending, DeviceError):
            waveform = waveform[: -7 * self.sample_rate // 10]  # 0.1 s before the word ends
        yield from (waveform[i : i + 160] for i in range(0, waveform.size // 160 * 160, 160))
        raise self.ending


@pytest.fixture
def fake_microphone(monkeypatch):
    def script(*openings):
        monkeypatch.setattr(FakeMicrophone, "script", [(*opening, 16000)[:3] for opening in openings])
        monkeypatch.setattr(microphone, "Microphone", FakeMicrophone)
        monkeypatch.setattr(microphone, "refresh_devices", lambda: None)
        monkeypatch.setattr(lasting_microphone, "TICK_S", 0.001)

    return script


GONE = DeviceError("no block came")


def test_microphone_until_ctrl_c(run, fake_microphone, monkeypatch):
    monkeypatch.setattr("edgedigit.runtime.stream.time", SimpleNamespace(perf_counter=lambda: 0.0))
    fake_microphone(("61", KeyboardInterrupt()))
    code, out, err = run("--mic")
    summary = json.loads(out[-1])
    assert code == 0 and err[0] == "listening to fake at 16000 Hz; Ctrl-C ends"
    assert [result["label"] for result in summary["results"]] == ["6", "1"]
    assert all(result["latency_ms"] < 150 for result in summary["results"])
    assert summary["overruns"] == 1 and err[-1] == "overruns: 1; the machine did not keep up, and sound was lost"
    assert sum("is being lost" in line for line in err) == 1


def test_a_microphone_that_goes_is_waited_for_and_begins_a_new_stream(run, fake_microphone):
    fake_microphone(("61", GONE), (None, GONE), (None, GONE), ("7", KeyboardInterrupt(), 48000))
    code, out, err = run("--mic")
    summary = json.loads(out[-1])
    assert code == 0 and [result["label"] for result in summary["results"]] == ["6", "1", "7"]
    assert summary["results"][2]["start_s"] == pytest.approx(0.5, abs=0.03)  # times begin anew
    assert (summary["interruptions"], summary["overruns"]) == (1, 2)
    gone, back = [line for line in err if line.startswith("microphone 0")]
    assert gone.endswith("has gone; waiting for it") and back.endswith("is back, at 48000 Hz")


def test_without_a_standard_error_it_is_listened_all_the_same(run, fake_microphone, monkeypatch):
    fake_microphone(("61", KeyboardInterrupt()))
    monkeypatch.setattr(sys, "stderr", None)
    code, out, _ = run("--mic", "--json")
    sys.stderr.close()
    assert code == 0 and [json.loads(line).get("label") for line in out] == ["6", "1", None]


def test_what_was_heard_is_recorded_at_the_rate_of_the_device(run, fake_microphone, tmp_path):
    fake_microphone(("61", GONE), (None, GONE), ("7", KeyboardInterrupt()))
    code, out, _ = run("--mic", "--record", tmp_path / "heard.wav")
    summary = json.loads(out[-1])
    assert code == 0 and summary["recorded"] == str(tmp_path / "heard.wav")
    heard, rate = soundfile.read(tmp_path / "heard.wav", dtype="float32")
    said = np.concatenate((speak("61", sample_rate=16000)[:-11200], speak("7", sample_rate=16000)))
    assert rate == 16000 and summary["recorded_s"] == round(said.size / rate, 1)
    np.testing.assert_allclose(heard, said, atol=2e-5)


def test_a_recording_is_refused_before_anybody_speaks(run, fake_microphone, tmp_path):
    fake_microphone()
    (tmp_path / "heard.wav").write_bytes(b"somebody's")
    code, out, err = run("--mic", "--record", tmp_path / "heard.wav")
    assert (code, out) == (2, []) and err[0].endswith("name another file, or replace it with --overwrite")
    fake_microphone((None, DeviceError("busy")))
    code, _, err = run("--mic", "--record", tmp_path / "heard.wav", "--overwrite")
    assert (code, err) == (2, ["error: busy"])
    assert (tmp_path / "heard.wav").read_bytes() == b"somebody's"  # not before there is something to replace it with


def test_a_recording_that_fails_does_not_end_the_listening(run, fake_microphone, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MAX_BYTES", 16000)
    fake_microphone(("61", KeyboardInterrupt()))
    code, out, err = run("--mic", "--record", tmp_path / "heard.wav")
    summary = json.loads(out[-1])
    assert code == 2 and summary["n_words"] == 2 and summary["recorded_s"] == 0.5
    (error,) = (line for line in err if line.startswith("error: "))
    assert error.endswith("it keeps 0.5 s, the rest is not recorded")


def test_a_file_in_real_time_is_heard_as_from_a_microphone(run, fake_microphone, tmp_path):
    """Same words, times and probabilities, and it takes as long as it lasts."""
    fake_microphone(("61", KeyboardInterrupt()))
    _, out, _ = run("--mic")
    heard = json.loads(out[-1])["results"]
    soundfile.write(tmp_path / "said.wav", speak("61", sample_rate=16000), 16000, subtype="FLOAT")
    start = time.perf_counter()
    code, out, _ = run("--realtime", tmp_path / "said.wav")
    played = json.loads(out[-1])["results"]
    assert code == 0 and time.perf_counter() - start > soundfile.info(tmp_path / "said.wav").duration
    for key in ("label", "probability", "start_s", "end_s"):
        assert [word[key] for word in played] == [word[key] for word in heard]


def test_bad_and_silent_files_in_real_time_cost_a_line_each(run, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    write_wav(tmp_path / "silent.wav", silence(0.3))
    write_wav(tmp_path / "short.wav", tone_word(3))
    soundfile.write(tmp_path / "slow.wav", tone_word(3), 500)
    names = ("text.wav", "slow.wav", "silent.wav", "short.wav")
    code, out, err = run("--realtime", *(tmp_path / name for name in names))
    assert code == 2 and len(err) == 2 and "not an audio file" in err[0] and "500 Hz" in err[1]
    assert out[1].endswith("silent.wav  no word") and out[2].split()[0] == "3"  # a short file is a stream too
    assert json.loads(out[-1])["n_inputs"] == 4


# What all scripts share


def test_parser_takes_either_spelling_of_either_registration():
    parser = ArgumentParser(prog="x")
    parser.add_argument("--batch_size", type=int)
    parser.add_argument_group("more").add_argument("--data-dir")
    for arguments in (["--batch-size", "3", "--data_dir=a_b"], ["--batch_size=3", "--data-dir", "a_b"]):
        args = parser.parse_args(arguments)
        assert (args.batch_size, args.data_dir) == (3, "a_b")


def test_an_unwritable_place_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")

    def write(argv):
        (tmp_path / "file" / "folder").mkdir()

    assert run_main(write) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Not a directory" in error and error.count("\n") == 1


@pytest.mark.parametrize(("args", "words"), [([""], "INPUT is empty"), (["--threads", "100000"], "1 to 64")])
def test_arguments_that_would_read_everything_or_never_end(args, words, tiny_model, capsys):
    try:
        code = run_main(infer.main, [*args, "--model", str(tiny_model)])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2 and words in capsys.readouterr().err


def test_run_main_turns_exceptions_into_exit_codes(capsys):
    def raising(error):
        def main(argv):
            raise error

        return main

    assert run_main(raising(GateError("accuracy 98.0 % is below 99.0 %"))) == 1
    assert capsys.readouterr().err == "error: accuracy 98.0 % is below 99.0 %\n"
    assert run_main(raising(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):  # a defect keeps its traceback
        run_main(raising(ZeroDivisionError()))


@pytest.mark.parametrize("options", [[], ["--reject-below", "0"]])
def test_what_is_no_digit_has_no_label_in_files_and_streams(tmp_path, capsys, options):
    labels = '["0", "1", "2", "3", "4", "5", "6", "_unknown_", "8", "9"]'
    model = build_tiny_model(tmp_path / "m.onnx", labels=labels)
    write_wav(tmp_path / "short.wav", tone_word(7))
    write_wav(tmp_path / "long.wav", speak("73"))
    inputs = [str(tmp_path / "short.wav"), str(tmp_path / "long.wav")]
    assert run_main(infer.main, [*inputs, "--model", str(model), *options]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [result["label"] for result in json.loads(out[-1])["results"]] == [None, None, "3"]
    assert [line.split()[0] for line in out[1:4]] == ["-", "-", "3"]


def test_a_threshold_on_the_command_line_silences_the_unsure(run, tmp_path, capsys):
    clip = tmp_path / "mixed.wav"
    write_wav(clip, 0.6 * tone_word(3) + 0.5 * tone_word(6))
    for threshold, label in (("0.01", "3"), ("0.999", None)):
        code, out, _ = run(clip, "--reject-below", threshold)
        assert code == 0 and json.loads(out[-1])["results"][0]["label"] == label
    with pytest.raises(SystemExit, match="2"):
        run(clip, "--reject-below", "7")
    assert "expected a probability" in capsys.readouterr().err
