"""False accepts per hour, thresholds that keep to a rate, and figures on recordings that are new to a model."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("webrtcvad")
from tiny_model import SAMPLE_RATE, build_tiny_model, silence, tone_word

from edgedigit.audio import write_wav
from edgedigit.cli import run_main
from edgedigit.config import Config, apply_overrides, to_dict
from edgedigit.data.recording import Recording
from edgedigit.data.splits import in_name_order
from edgedigit.detection import __main__ as detection
from edgedigit.detection.counting import Accept, answered, auroc, poisson_interval, threshold_at
from edgedigit.detection.listening import listen, stream_of
from edgedigit.detection.material import halves
from edgedigit.detection.points import trade_off
from edgedigit.errors import DataError, InputError
from edgedigit.labels import NON_DIGIT
from edgedigit.manifest import sha256_of, write_manifest
from edgedigit.runtime import Recognizer
from edgedigit.train.heard import Heard, heard_by


@pytest.mark.parametrize(("n", "low", "high"), [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904)])
def test_poisson_intervals_are_those_of_the_tables(n, low, high):
    """Garwood's exact limits, as printed in tables of the Poisson distribution."""
    assert poisson_interval(n, 1.0) == pytest.approx((low, high), abs=1e-4)
    assert poisson_interval(n, 0.5) == pytest.approx((2 * low, 2 * high), abs=1e-3)


@pytest.mark.parametrize(("n", "hours"), [(-1, 1.0), (3, 0.0)])
def test_impossible_counts_are_refused(n, hours):
    with pytest.raises(InputError, match="expected 0 or more"):
        poisson_interval(n, hours)


def accepts(*probabilities):
    return [Accept("3", p, 0.0, None) for p in probabilities]


@pytest.mark.parametrize("rate", [0.5, 1, 2, 10])
def test_the_threshold_is_the_lowest_that_keeps_to_the_rate(rate):
    found, hours = accepts(0.2, 0.9, 0.5, 0.5, 0.7), 2.0
    threshold = threshold_at(found, hours, rate)
    assert sum(a.probability >= threshold for a in found) <= rate * hours
    if threshold:
        assert sum(a.probability >= np.nextafter(threshold, 0) for a in found) > rate * hours


def test_where_certainty_is_wrong_no_threshold_keeps_to_the_rate():
    assert threshold_at(accepts(1.0, 1.0, 0.5), 1.0, 1.0) is None
    assert threshold_at(accepts(1.0, 0.5), 1.0, 1.0) < 1


def test_the_first_answer_that_reaches_the_threshold_counts():
    heard = [Accept("4", 0.5, 0, 0), Accept("3", 0.9, 0, 0), Accept("7", 0.8, 0, 1), Accept("9", 0.9, 0, None)]
    assert answered(["3", "8", "1"], heard, 0.0) == (0, 2, 1)
    assert answered(["3", "8", "1"], heard, 0.6) == (1, 1, 1)
    assert answered(["3", "8", "1"], heard, 0.95) == (0, 0, 3)


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(2, 9, 40) / 10, rng.integers(0, 7, 30) / 10
    pairs = positives[:, None] - negatives[None, :]
    assert auroc(positives, negatives) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    with pytest.raises(InputError, match="some of each"):
        auroc(positives, negatives[:0])


def recording(name, waveform, label="talk", speaker="ann", source="read"):
    return Recording(waveform, SAMPLE_RATE, label, f"{source}:{speaker}", source, f"{source}/{name}")


def test_accepts_belong_to_the_recording_they_were_heard_in(tiny_model):
    clips = [np.concatenate([silence(0.4), tone_word(digit), silence(0.8)]) for digit in range(6)]
    stream = stream_of([recording(str(i), clip, label=str(i)) for i, clip in enumerate(clips)])
    heard = listen(Recognizer(tiny_model, reject_below=0.0), stream, "test")
    assert [accept.label for accept in heard] == [r.label for r in stream.recordings]
    assert [accept.clip for accept in heard] == list(range(6))
    assert stream.hours == pytest.approx(6 * 1.6 / 3600)
    assert stream.sound.duration_s > 6 * 1.6 + 5 * 0.5


def test_halves_share_no_speaker_and_validation_chooses():
    clips = [recording(f"{i}", silence(1), speaker=f"s{i % 7}") for i in range(21)]
    heard = Heard(known=True, validation=frozenset({"read/3"}))
    choosing, measuring = halves(clips, heard)
    speakers = [{r.speaker for r in half} for half in (choosing, measuring)]
    assert not speakers[0] & speakers[1] and len(speakers[0] | speakers[1]) == 7
    assert "read:s3" in speakers[0]
    assert abs(len(speakers[0]) - len(speakers[1])) <= 2
    again, _ = halves(clips[::-1], heard)
    assert {r.name for r in again} == {r.name for r in choosing}
    with pytest.raises(DataError, match="need two"):
        halves(clips[:1], Heard())


def write_corpus(folder, clips):
    """`clips`: (name, label, speaker, waveform)."""
    folder.mkdir(parents=True)
    lines = ["file,label,speaker,source"]
    for name, label, speaker, waveform in clips:
        write_wav(folder / f"{name}.wav", waveform)
        lines.append(f"{name}.wav,{label},{speaker},{folder.name}")
    (folder / "manifest.csv").write_text("\n".join(lines))


def talk(digit, share, seed):
    """A "sentence" of 4 s whose one word is mostly a digit's tone: the model is the surer the greater the share."""
    word = share * tone_word(digit) + (1 - share) * tone_word((digit + 5) % 10)
    noise = np.random.default_rng(seed).normal(0, 3e-5, 4 * SAMPLE_RATE).astype(np.float32)
    noise[SAMPLE_RATE : SAMPLE_RATE + word.size] += word
    return noise


@pytest.fixture
def corpora(tmp_path):
    write_corpus(
        tmp_path / "spoken",
        [(f"{d}_{s}", d, s, np.pad(tone_word(d), n)) for d in range(10) for s, n in (("ann", 1000), ("bob", 1010))],
    )
    by_name = in_name_order(
        {f"read:r{i}" for i in range(16)}
    )  # by turns they choose thresholds; one of these is surest
    shares = {name: (0.55, 0.6, 0.65, 0.7 if i % 2 else 0.75)[i // 2 % 4] for i, name in enumerate(by_name)}
    read = [(f"t{i}", "ls", f"r{i}", talk(i % 5, shares[f"read:r{i}"], i)) for i in range(16)]
    write_corpus(tmp_path / "read", read)
    hiss = np.random.default_rng(1).normal(0, 0.01, (3, 3 * SAMPLE_RATE)).astype(np.float32)
    write_corpus(tmp_path / "hum", [(f"n{i}", "hum", "-", row) for i, row in enumerate(hiss)])
    other = np.pad(0.5 * tone_word(1) + 0.5 * tone_word(6), 1000)
    write_corpus(tmp_path / "other", [("bed", "bed", "eve", other), ("up", "up", "eve", other)])
    return tmp_path


def sources(*names):
    return [f"folder:{name}" for name in names]


def test_the_command_from_recordings_to_the_result(tiny_model, corpora, tmp_path, capsys):
    out = tmp_path / "results" / "found.json"
    argv = ["--model", str(tiny_model), "--data-dir", str(corpora), "--results", str(out), "--title", "Tones"]
    argv += ["--positives", *sources("spoken"), "--speech", *sources("read"), "--noise", *sources("hum")]
    argv += ["--words", *sources("other"), "--far-per-hour", "1", "400"]
    assert run_main(detection.main, argv) == 0
    printed = capsys.readouterr().out.splitlines()
    result = json.loads(out.read_text())
    assert json.loads(printed[-1])["operating_points"] == result["operating_points"]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")

    own, strict, loose = result["operating_points"]
    rates = ["threshold chosen for at most 1 FA/h", "threshold chosen for at most 400 FA/h"]  # not what is then counted
    assert [point["name"] for point in (strict, loose)] == rates
    assert {row["group"].partition(":")[0] for row in result["rows"]} == {own["name"], *rates}
    allowed = int(400 * result["chosen_on"]["hours"])
    assert f"at most 1 an hour 0, 400 an hour {allowed}." in result["note"] and allowed > 0
    for hours in (result["chosen_on"]["hours"], strict["speech"]["hours"]):
        assert f" {3.6889 / hours:.1f} " in result["note"], "what no false accept at all leaves possible"
    hours = result["chosen_on"]["hours"] + strict["speech"]["hours"]
    assert hours == pytest.approx(16 * 4 / 3600), "pauses do not count"
    assert own["threshold"] == 0.5 and own["speech"]["n_false_accepts"] > 0
    assert strict["threshold"] > loose["threshold"], "fewer false accepts need a higher threshold"
    assert strict["speech"]["n_false_accepts"] == 0
    assert strict["speech"]["far_per_hour_high"] == pytest.approx(3.689 / strict["speech"]["hours"], rel=1e-3)
    (digits,) = strict["digits"]
    assert digits["group"] == "spoken, unknown whether seen"
    assert (digits["n"], digits["n_correct"], digits["n_unanswered"]) == (20, 20, 0), "pure tones are surer"
    assert strict["words"]["n_correct"] == 2
    assert {row["others"]: row["auroc"] for row in result["auroc"]}["words"] == 1.0
    assert "Nothing says what the model was trained on" in result["note"]
    assert all(f"{area['auroc']:.4f} for {area['digits']}" in result["note"] for area in result["auroc"])
    assert len(result["false_accepts"]) == 16
    for row in result["false_accepts"]:
        assert row["recording"].startswith("read/") and row["at_s"] == pytest.approx(1.0, abs=0.1)
    falling = [row["far_per_hour"] for row in result["curve"]]
    assert falling == sorted(falling, reverse=True) and falling[-1] == 0
    misses = [row["spoken, unknown whether seen"] for row in result["curve"]]
    assert misses == sorted(misses)


def trained_on_half(corpora, model, where="manifest"):
    """Let a model be trained on the recordings of one speaker, and validated on those of the other."""
    settings = ["data.sources=['folder:spoken']", "data.split=all", "data.validation_fraction=0.5", "data.refit=false"]
    config = to_dict(apply_overrides(Config(), [*settings, "seed=3"]))
    if where == "manifest":
        write_manifest(model, {"config": config})
    else:
        model.with_name("config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("where", ["manifest", "run folder"])
def test_what_a_model_was_trained_on_is_left_out(corpora, tmp_path, capsys, where):
    model = trained_on_half(corpora, build_tiny_model(tmp_path / "told.onnx"), where)
    heard = heard_by(model, corpora)
    assert heard.known and len(heard.trained) == len(heard.validation) == 10
    argv = ["--model", str(model), "--data-dir", str(corpora), "--positives", *sources("spoken")]
    assert run_main(detection.main, [*argv, "--speech", *sources("read")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("10 recordings that the model was trained on are left out" in line for line in printed)
    (digits,) = json.loads(printed[-1])["operating_points"][0]["digits"]
    assert (digits["group"], digits["n"]) == ("spoken, unseen speakers, of validation", 10)
    assert json.loads(printed[-1])["seeds"] == [3]


def test_what_trained_the_model_below_an_enrolled_one_is_left_out_and_nothing_else_is_called_new(
    corpora, tmp_path, capsys
):
    base = trained_on_half(corpora, build_tiny_model(tmp_path / "told.onnx"))
    told = {"clips": {"0": 10}, "on": base.name, "sha256": sha256_of(base)}
    model = build_tiny_model(tmp_path / "mine.onnx", enrolled=json.dumps(told))
    argv = ["--model", str(model), "--data-dir", str(corpora), "--positives", *sources("spoken")]
    assert run_main(detection.main, [*argv, "--speech", *sources("read")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert any("10 recordings that the model was trained on are left out" in line for line in printed)
    result = json.loads(printed[-1])
    (digits,) = result["operating_points"][0]["digits"]
    assert (digits["group"], digits["n"]) == ("spoken, unknown whether seen", 10)
    assert "Which recordings the model was enrolled with is not known." in result["note"]


def test_a_model_that_rejects_other_sounds_accepts_fewer(corpora, tmp_path, capsys):
    """The tone of the fifth label stands for what is no digit: it wins, and is answered with nothing."""
    labels = [str(digit) for digit in range(10)]
    labels[3] = NON_DIGIT
    model = build_tiny_model(tmp_path / "rejecting.onnx", labels=json.dumps(labels))
    heard = stream_of([recording("t", talk(3, 0.9, 0)), recording("u", talk(2, 0.9, 0))])
    accepted = listen(Recognizer(model, reject_below=0.0), heard, "test")
    assert [accept.label for accept in accepted if accept.clip is not None] == ["2"]
    between = [accept.probability for accept in accepted if accept.clip is None]
    assert max(between, default=0) < 0.2, "noise is asked about, and a net of tones is sure of nothing there"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--far-per-hour", "0"], "rates above 0"),
        (["--results", "found.png"], "expected a .json file"),
        (["--positives", "folder:read"], "holds no recording of 0, 1"),
        (["--speech", "folder:spoken"], "nothing but digits in folder:spoken"),
        (["--speech", "folder:nowhere"], "does not exist"),
    ],
)
def test_bad_input_costs_one_line(tiny_model, corpora, refusal, options, message):
    argv = ["--positives", "folder:spoken", "--speech", "folder:read", *options]
    argv += ["--model", str(tiny_model), "--data-dir", str(corpora)]
    assert message in refusal(detection.main, argv)


def test_the_curve_keeps_every_point_where_false_accepts_are_few():
    found = accepts(*np.linspace(0.1, 0.9, 1000).tolist())
    sound = SimpleNamespace(hours=10.0, recordings=[recording("d", silence(1), label="3")])
    heard = {"speech": found, "digits": [Accept("3", 0.5, 0.0, 0)]}
    bench = SimpleNamespace(accepts=lambda name, threshold: heard[name], streams={"speech": sound, "digits": sound})
    curve = trade_off(bench, {"digits": []})
    rates = [round(10 * row["far_per_hour"]) for row in curve]
    assert rates[0] == 1000 and rates[-20:] == list(range(19, -1, -1)) and len(curve) <= 201
    assert [row["digits"] for row in curve] == [float(row["threshold"] > 0.5) for row in curve]
