"""The page about trainings: what it says is what the run folder holds, and it needs nothing but itself."""

import base64
import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from run_folder import SETTINGS, begun, compared, finished, log_of, tones_of_digits, write_log

import prune_and_quantize
import train_distill
from edgedigit.audio import read_audio
from edgedigit.cli import run_main
from edgedigit.config import Config, apply_overrides
from edgedigit.data.recording import Recording
from edgedigit.errors import ConfigError, InputError
from edgedigit.models import create_model
from edgedigit.report import evaluation
from edgedigit.report import page as writing
from edgedigit.report.__main__ import main
from edgedigit.report.evaluation import Clip, hardest
from edgedigit.report.plots import distillation_figure, fine_tuning_figures, plot_curves, training_figures
from edgedigit.report.runs import Run, accuracy_by, read_log, read_run, read_runs
from edgedigit.train.pipeline import Material, Track

LOG = [
    {"phase": "teacher", "epoch": 1, "loss": 2.0, "validation_accuracy": 0.5, "lr": 1e-3},
    {"phase": "teacher", "epoch": 2, "loss": 1.5, "validation_accuracy": 0.7, "lr": 5e-4},
    {"phase": "student", "epoch": 1, "loss": 1.0, "validation_accuracy": 0.8, "lr": 1e-3},
]
VOID = {"wbr", "meta", "link", "img", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Elements of a page in order: (name, attributes, text)."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if tag in ("th", "td"):
            self.handle_data(" ")
        assert self.open.pop()[0] == tag  # every element is closed, in order

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, *tags):
        return [element for element in self.elements if element[0] in tags]


def page_of(tmp_path, *runs, options=()):
    """The page about runs, made without recordings unless an option names them."""
    out = tmp_path / "page.html"
    words = [*map(str, runs), "--out", str(out), *options]
    if "--data-dir" not in options:
        (tmp_path / "no_data").mkdir(exist_ok=True)
        words += ["--data-dir", str(tmp_path / "no_data")]
    assert run_main(main, words) == 0
    return out.read_text(encoding="utf-8")


def cells(page, caption):
    """Text of the rows of the tables whose caption begins so."""
    found, wanted = [], False
    for tag, _, text in page.elements:
        if tag == "table":
            wanted = text.strip().startswith(caption)
        elif wanted and tag == "tr":
            found.append(text.split())
    return found


@pytest.fixture
def blank_pictures(monkeypatch):
    """For tests of words and tables: drawing takes most of a page's time."""

    def save_blank(figure, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()

    monkeypatch.setattr(writing, "save_png", save_blank)
    monkeypatch.setattr(writing, "svg_text", lambda figure, name: "<svg></svg>")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder, folder of recordings) of a student that was really trained, on tones."""
    from edgedigit.manifest import write_json
    from edgedigit.train import pipeline

    folder = tmp_path_factory.mktemp("trained")
    data_dir = tones_of_digits(folder / "data")
    config = apply_overrides(Config(), SETTINGS)
    material = pipeline.load_material(config, data_dir, progress=False)
    pipeline.prepare_run(config, folder / "run", False, material.tracks)
    pipeline.train_all(config, material, folder / "run", say=str, bars=False)
    write_json(folder / "run" / "student.json", {"accuracy": []})
    return folder / "run", data_dir


def test_the_log_of_a_resumed_run_reads_like_an_uninterrupted_one(tmp_path):
    lines = [json.dumps(entry) for entry in (LOG[0], {**LOG[1], "loss": 9.0}, *LOG[1:])]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([*lines[:2], '{"phase": "teac', '{"config": {}}', *lines[2:]]), encoding="utf-8")
    assert read_log(path) == {"teacher": LOG[:2], "student": LOG[2:]}


def test_a_phase_that_is_repeated_and_ends_sooner_leaves_nothing_of_the_former(tmp_path):
    write_log(tmp_path, [*log_of("a", 5), *log_of("a", 2)])
    assert [record["epoch"] for record in read_log(tmp_path / "log.jsonl")["a"]] == [1, 2]


def test_curves_are_drawn_for_every_phase(tmp_path):
    write_log(tmp_path, LOG)
    plot_curves(tmp_path / "log.jsonl", tmp_path / "plots" / "curves.png")
    assert (tmp_path / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_log_draws_nothing(tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(InputError, match="no epoch"):
        plot_curves(tmp_path / "log.jsonl", tmp_path / "curves.png")


def drawn(figure):
    """y of each line of a figure, by its name."""
    return {line.get_label(): list(line.get_ydata()) for line in figure.axes[0].lines}


def test_student_and_teachers_are_drawn_in_one_plot(tmp_path):
    run = read_run(finished(tmp_path / "run"))
    label, figure = distillation_figure(run, "final")
    assert label == "validation accuracy %"
    lines = drawn(figure)
    assert lines["teacher resnet_se"] == pytest.approx([50, 75, 83.333], abs=1e-2)
    assert len(lines["student student_dscnn"]) == 5


def test_fine_tuning_is_one_curve_over_all_its_phases(tmp_path):
    run = read_run(finished(tmp_path / "run"))
    figures = {key: figure for key, _, figure in fine_tuning_figures(run, "final")}
    assert sorted(figures) == ["loss", "lr"]  # no validation after pruning
    curve, *steps = figures["loss"].axes[0].lines
    assert list(curve.get_ydata()) == [2, 2, 2, 1, pytest.approx(2 / 3), 0.5]
    assert [line.get_xdata()[0] for line in steps] == [0.5, 1.5]  # channels leave before the first and second epoch
    assert all("prune" not in name for _, _, figure in training_figures(run, "final") for name in drawn(figure))


def test_hardest_clips_are_the_surest_errors_then_the_least_sure_right_answers():
    recording = Recording(np.zeros(8000, np.float32), 8000, "1", "s", "tones", "n")
    clips = [
        Clip("test", recording, answer, probability, label_probability)
        for answer, probability, label_probability in (
            ("1", 0.9, 0.9),
            ("2", 0.5, 0.4),
            ("1", 0.4, 0.4),
            ("3", 0.8, 0.1),
        )
    ]
    assert [clips.index(clip) for clip in hardest(clips, 3)] == [3, 1, 2]


def test_accuracy_is_grouped_with_its_interval():
    rows = [{"label": "1", "answer": "1", "speaker": "a"}, {"label": "1", "answer": "2", "speaker": "b"}]
    first, second = accuracy_by([*rows, rows[0]], "speaker")
    assert (first["group"], first["n"], first["n_correct"]) == ("a", 2, 2)
    assert second["accuracy"] == 0.0 < second["accuracy_high"] < 1


def test_a_finished_run_without_its_recordings_shows_figures_and_says_what_is_missing(tmp_path):
    text = page_of(tmp_path, finished(tmp_path / "run"))
    page = Page(text)
    assert "No players" in text and not page.all("audio")
    assert ["1", "75.00", "30.06–95.44", "4"] in cells(page, "By digit")
    assert ["final,", "pruned,", "INT8", "95.00", "83.50–98.62"] in cells(page, "Accuracy: validation")
    assert ["0", "3", "0", "0", "0", "0", "0", "0", "0", "0", "1"] in [
        re.findall(r"\d", " ".join(row)) for row in cells(page, "Confusions")
    ]
    assert len(cells(page, "Wrong answers")) == 2 * (1 + 2)  # two parts, a header each


@pytest.mark.usefixtures("blank_pictures")
def test_what_a_file_is_called_cannot_change_the_page(tmp_path):
    text = page_of(tmp_path, finished(tmp_path / "run"))
    assert "fsdd/&lt;test&gt;0.wav" in text and "<test>" not in text


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize(
    "split, words",
    [("fsdd_official", "test, seen speakers"), ("loso:fsdd:theo", "test, unseen speakers"), ("all", "test, seen")],
)
def test_whether_speakers_were_heard_in_training_stands_with_the_figures(tmp_path, split, words):
    page = Page(page_of(tmp_path, finished(tmp_path / "run", split)))
    assert cells(page, f"Accuracy: {words}")
    assert any(text.lower().startswith(words) for tag, _, text in page.all("h3"))


def test_folds_of_recordings_do_not_pass_for_folds_of_speakers(tmp_path):
    run = read_run(finished(tmp_path / "run", "kfold:5:0"))
    by_recording = replace(run.config, data=replace(run.config.data, fold_by="recording"))
    assert run.test_speakers() == "unseen speakers"
    assert replace(run, config=by_recording).test_speakers() == "seen speakers"


def test_a_run_that_still_trains_shows_its_curves(tmp_path):
    text = page_of(tmp_path, begun(tmp_path / "run"))
    page = Page(text)
    assert "Training has not finished: curves only" in text
    assert "final-student_dscnn after epoch 2" in text
    assert len(page.all("figure")) == 4 and not page.all("table")
    assert len(list((tmp_path / "page").glob("*.png"))) == 4


@pytest.mark.usefixtures("blank_pictures")
def test_several_runs_stand_in_one_table(tmp_path):
    runs = [finished(tmp_path / "a"), finished(tmp_path / "b", wrong=4), begun(tmp_path / "c")]
    text = page_of(tmp_path, *runs)
    page = Page(text)
    accuracies = cells(page, "Accuracy of each run's product")[1:]
    assert ["a", "test,", "seen", "speakers", "95.00", "83.50–98.62", "40"] in accuracies
    assert ["b", "test,", "seen", "speakers", "90.00", "76.95–96.04", "40"] in accuracies
    assert ["c", "not", "measured", "yet", "–", "–", "–"] in accuracies
    products = {row[0]: row for row in cells(page, "The products")[1:]}
    assert products["b"][1:] == ["pruned,", "INT8", "1,200", "0.00", "6.0", "0.25", "/", "0.40", "5", "1"]
    assert products["c"][-2:] == ["2", "0"]  # half a minute so far
    assert "not all measured on" in text
    pictures = {path.parent.name for path in tmp_path.glob("page/*/final-loss.png")}
    assert pictures == {"1-a", "2-b", "3-c"}


@pytest.mark.usefixtures("blank_pictures")
def test_a_training_of_a_comparison_is_finished(tmp_path):
    text = page_of(tmp_path, compared(tmp_path / "run"))
    assert "trained, not pruned yet" in text and "Training has not finished" not in text
    assert "2,000 parameters, 1.23 M multiply-accumulates" in text
    assert "No players: fsdd is not in" in text  # and not a word of pruning steps
    assert "soft targets" not in text  # it had no teacher
    assert "39 of 40\nclips right" in text
    (tmp_path / "run" / "answers.csv").unlink()
    assert "Test, unseen speakers" in page_of(tmp_path, tmp_path / "run")  # from result.json then


@pytest.mark.usefixtures("blank_pictures")
def test_runs_whose_folders_have_one_name_are_told_apart(tmp_path):
    runs = [compared(tmp_path / name) for name in ("a/x/fold-0", "a/y/fold-0", "b/x/fold-0", "other")]
    assert [run.name for run in read_runs(runs)] == ["a/x/fold-0", "y/fold-0", "b/x/fold-0", "other"]
    assert [run.name for run in read_runs([runs[1], runs[1]])] == ["fold-0", "fold-0"]  # one folder named twice
    page = Page(page_of(tmp_path, *runs[:2], runs[3]))
    assert [row[0] for row in cells(page, "The products")[1:]] == ["x/fold-0", "y/fold-0", "other"]
    assert {path.parent.name for path in tmp_path.glob("page/*/final-loss.png")} == {
        "1-x-fold-0",
        "2-y-fold-0",
        "3-other",
    }


@pytest.mark.usefixtures("blank_pictures")
def test_what_was_only_trained_is_compared_by_its_size(tmp_path):
    trained = [compared(tmp_path / "a"), finished(tmp_path / "b")]
    (tmp_path / "b" / "compressed.json").unlink()
    sizes = {"n_params": 3000, "macs": 4560000, "accuracy": [], "seconds": 48}
    (tmp_path / "b" / "student.json").write_text(json.dumps(sizes))
    head, *rows = cells(Page(page_of(tmp_path, *trained)), "The products")
    assert rows[0][1:] == ["student,", "fp32", "2,000", "1.23", "5", "0"]
    assert rows[1][1:5] == ["student,", "fp32", "3,000", "4.56"]
    assert "kB" not in head and "p50" not in head  # nothing was exported and timed
    head, *rows = cells(Page(page_of(tmp_path, *trained, finished(tmp_path / "c"))), "The products")
    assert "kB" in head and "p50" in head
    assert rows[0][1:] == ["student,", "fp32", "2,000", "1.23", "–", "–", "5", "0"]


def test_epochs_are_counted_in_whole_numbers(tmp_path):
    run = read_run(finished(tmp_path / "run"))
    for _, _, figure in training_figures(run, "final"):
        figure.canvas.draw()
        assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())


@pytest.mark.usefixtures("blank_pictures")
def test_runs_on_the_same_recordings_are_said_to_compare(tmp_path):
    text = page_of(tmp_path, finished(tmp_path / "a"), finished(tmp_path / "b"))
    assert "All runs were measured on the same recordings" in text


def test_the_page_needs_nothing_but_itself(trained, tmp_path):
    run_dir, data_dir = trained
    page = Page(page_of(tmp_path, run_dir, options=("--data-dir", str(data_dir))))
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not page.all("script")
    (style,) = [text for _, _, text in page.all("style") if "color-scheme" in text]
    assert "url(" not in style and "@import" not in style


def test_tables_headings_and_pictures_are_there_for_those_who_do_not_see_them(trained, tmp_path):
    run_dir, data_dir = trained
    page = Page(page_of(tmp_path, run_dir, finished(tmp_path / "b"), options=("--data-dir", str(data_dir))))
    assert len(page.all("table")) == len([text for _, _, text in page.all("caption") if text.strip()]) > 5
    assert all(attributes.get("scope") in ("row", "col") for _, attributes, _ in page.all("th"))
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(attributes.get("alt") for _, attributes, _ in page.all("img"))
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in page.all("a"):
        assert attributes["href"].removeprefix("#") in ids


@pytest.mark.usefixtures("blank_pictures")
def test_players_play_the_recordings(trained, tmp_path):
    run_dir, data_dir = trained
    page = Page(page_of(tmp_path, run_dir, options=("--data-dir", str(data_dir), "--clips", "5")))
    players = page.all("audio")
    assert len(players) == 10  # of validation and of test
    for _, attributes, _ in players:
        name = attributes["aria-label"].rpartition(" ")[2]
        sound = io.BytesIO(base64.b64decode(attributes["src"].partition("base64,")[2]))
        waveform, sample_rate = read_audio(sound)
        expected, _ = read_audio(data_dir / "fsdd" / "recordings" / name.partition("/")[2])
        assert sample_rate == 8000
        np.testing.assert_allclose(waveform, expected, atol=1e-4)


@pytest.mark.slow
def test_what_both_scripts_leave_is_shown_whole(tmp_path):
    """With what TensorBoard was told on the way."""
    pytest.importorskip("tensorboard")
    data_dir, run_dir = tones_of_digits(tmp_path / "data"), tmp_path / "run"
    common = ["--run-dir", run_dir, "--data-dir", data_dir, "--quiet", "--tensorboard"]
    gates = ["--set", "gates.min_validation_accuracy=0", "--set", "gates.max_int8_loss=1"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    compress = ["--pruning_steps", "2", "--set", "compress.final_epochs=2", "--set", "compress.calibration_clips=20"]
    for script, words in ((train_distill, settings), (prune_and_quantize, compress)):
        assert run_main(script.main, [str(word) for word in [*words, *gates, *common]]) == 0

    page = Page(page_of(tmp_path, run_dir, options=("--data-dir", str(data_dir))))
    rows = cells(page, "The points of these curves")[1:]
    assert [row[0] for row in rows] == ["student", "step", "step", "fine-tuned"]
    sizes = [int(row[-2].replace(",", "")) for row in rows]
    assert sizes[0] > sizes[1] >= sizes[2] == sizes[3]
    stages = json.loads((run_dir / "compressed.json").read_text())["stages"]
    by_stage = {stage["stage"]: stage["accuracy"][0]["accuracy"] for stage in stages}
    trained = json.loads((run_dir / "student.json").read_text())
    assert {key: trained[key] for key in ("n_params", "macs")} == {key: stages[0][key] for key in ("n_params", "macs")}
    assert float(rows[0][1]) == pytest.approx(100 * by_stage["student"], abs=0.01)
    assert float(rows[3][1]) == pytest.approx(100 * by_stage["pruned"], abs=0.01)
    assert len(page.all("audio")) == 2 * 12
    phases = ["final-prune1", "final-prune2", "final-pruned", "final-student_dscnn"]
    assert sorted(path.name for path in (run_dir / "tensorboard").iterdir()) == phases


def test_accuracy_between_pruning_steps_is_that_of_digits(monkeypatch, tmp_path):
    """As in every other table: what is no digit is answered wrongly here and does not count."""
    config = replace(Config(), data=replace(Config().data, labels=("0", "1", "_unknown_")))
    clips = [Recording(np.zeros(8000, np.float32), 8000, label, "a", "b", label) for label in ("0", "1", "_unknown_")]
    track = Track("final", [], clips)
    monkeypatch.setattr(evaluation, "predict_logits", lambda model, part: np.eye(3)[[0, 1, 0]][: len(part)])
    for name in ("load_student", "load_pruned"):
        monkeypatch.setattr(evaluation, name, lambda *_: create_model("cnn_mini", 3))
    run = Run(tmp_path, "run", config, {}, {}, {"compress": {}, "stages": []}, [])
    rows = evaluation.pruning_points(run, Material((track,), [], []))
    assert [(row["group"], row["n"], row["n_correct"]) for row in rows] == [("student", 2, 2), ("fine-tuned", 2, 2)]


@pytest.mark.usefixtures("blank_pictures")
def test_recordings_that_have_changed_are_not_played(trained, tmp_path):
    run_dir, data_dir = trained
    (run_dir / "answers.csv").write_text(
        "track,stage,part,name,label,speaker,source,answer\nfinal,student,test,fsdd/gone.wav,1,fsdd:ann,fsdd,1\n"
    )
    try:
        text = page_of(tmp_path, run_dir, options=("--data-dir", str(data_dir)))
    finally:
        (run_dir / "answers.csv").unlink()
    assert "no longer those" in text and "<audio" not in text


@pytest.mark.parametrize(
    "words, message",
    [
        (["RUN", "--check"], "--check is about the documents"),
        (["--out", "page.html"], "name a RUN"),
        (["RUN", "--out", "page"], "--out is page, expected a file such as page.html"),
        (["RUN", "--out", "."], "--out is ., expected a file such as page.html"),
        (["RUN", "--clips", "-1"], "expected 0 or more"),
        (["RUN"], "holds no run"),
    ],
)
def test_what_cannot_be_shown_costs_one_line(tmp_path, refusal, words, message):
    words = [str(tmp_path / "nothing") if word == "RUN" else word for word in words]
    assert message in refusal(main, words)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("compressed.json", "{", "compressed.json cannot be read as JSON"),
        ("compressed.json", "{}", "compressed.json has no list of stages"),
        ("student.json", '{"accuracy": 3}', "student.json has no list of accuracy"),
        ("answers.csv", "a,b\n1,2\n", "answers.csv does not hold the columns track, stage"),
        (
            "answers.csv",
            "track,stage,part,name,label,speaker,source,answer\nfinal,int8,test,x,left,s,s,0\n",
            "holds left, no label of this run",
        ),
        (
            "answers.csv",
            "track,stage,part,name,label,speaker,source,answer\nfinal,int8,te",
            "answers.csv does not hold the columns",
        ),
    ],
)
def test_a_file_that_is_damaged_or_of_another_kind_is_named(tmp_path, capsys, name, text, words):
    folder = finished(tmp_path / "run")
    (folder / name).write_text(text)
    assert run_main(main, [str(folder)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line


@pytest.mark.parametrize("name, value", [("ema_decay", 2.0), ("from_the_future", 1)])
def test_settings_that_this_version_does_not_take_are_not_called_damaged(tmp_path, name, value):
    run_dir = begun(tmp_path / "run")
    stored = json.loads((run_dir / "config.json").read_text())
    stored["fit_student"][name] = value
    (run_dir / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=rf"config\.json does not fit this version \(.*{name}") as raised:
        read_run(run_dir)
    assert "JSON" not in str(raised.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "result.json cannot be read as JSON"),
        ('{"split": "kfold:5:0"}', "result.json has no accuracy"),
        ('{"accuracy": {}}', "result.json has no split"),
    ],
)
def test_a_damaged_result_of_a_comparison_is_named(tmp_path, refusal, text, words):
    (compared(tmp_path / "run") / "result.json").write_text(text)
    assert words in refusal(main, [str(tmp_path / "run")])


def test_a_run_without_an_epoch_says_wait(tmp_path, capsys):
    folder = begun(tmp_path / "run")
    (folder / "log.jsonl").unlink()
    assert run_main(main, [str(folder)]) == 2
    assert "wait for the first" in capsys.readouterr().err


@pytest.mark.usefixtures("blank_pictures")
def test_the_command_ends_with_a_line_of_json(tmp_path, capsys):
    page_of(tmp_path, begun(tmp_path / "run"))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["page"].endswith("page.html") and last["notes"] == ["run: training has not finished: curves only"]
