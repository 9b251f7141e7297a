"""Architectures trained alike, read again, ranked by what was measured."""

import json
from dataclasses import replace

import pytest
import yaml
from tiny_training import tones

from edgedigit import config as configuration
from edgedigit.audio import SAMPLE_RATE
from edgedigit.compare import __main__ as command
from edgedigit.compare import plan as planning
from edgedigit.compare import results, training
from edgedigit.compare.recommend import recommend
from edgedigit.errors import ConfigError
from edgedigit.metrics import accuracy_row
from edgedigit.train.pipeline import RESULT_FILE

TINY = {"widths": [8, 12], "depths": [1, 1], "kernels": [5, 5]}


def protocol(name="strangers", **more):
    return {"title": name, "settings": {"data": {"sources": ["fsdd"], "split": "fsdd_official"}}, **more}


def write_plan(folder, **changes):
    plan = {"title": "Two", "recipe": {}, "protocols": {"strangers": protocol()}, "models": ["cnn_mini"], **changes}
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def load(folder, only=(), **changes):
    return planning.load_plan(write_plan(folder, **changes), folder / "runs", None, only)


def row(model, accuracy, p50, n_params=1000, n=1000, p99=None, size_bytes=10_000):
    counted = accuracy_row("strangers", round(accuracy * n), n)
    latency = {"latency_ms_p50": p50, "latency_ms_p99": p99 or 2 * p50}
    return {
        "model": model,
        "accuracy": {"strangers": counted},
        "latency": latency,
        "n_params": n_params,
        "size_bytes": size_bytes,
    }


ROWS = [
    row("big", 0.97, 8.0, n_params=2_000_000, size_bytes=8_000_000),
    row("lean", 0.965, 2.0, n_params=200_000),
    row("small", 0.95, 0.4, n_params=60_000),
    row("smaller", 0.948, 0.3, n_params=70_000),
    row("quick", 0.93, 0.05, n_params=5_000),
    row("poor", 0.70, 0.01, n_params=1_000),
]


@pytest.mark.parametrize(
    "use_case, model",
    [("accuracy", "big"), ("speed", "quick"), ("balanced", "quick"), ("production", "smaller"), ("research", "lean")],
)
def test_each_use_has_its_model(use_case, model):
    chosen, why = recommend(ROWS, use_case, "strangers")
    assert chosen["model"] == model
    assert why


def test_a_model_whose_latency_breaks_the_budget_is_not_for_production():
    late = [row("late", 0.99, 14.0, p99=16.0), row("punctual", 0.9, 14.0, p99=14.5)]
    assert recommend(late, "production", "strangers")[0]["model"] == "punctual"
    with pytest.raises(ConfigError, match="keeps 90,000 parameters"):
        recommend(late[:1], "production", "strangers")


def test_without_the_accuracy_that_counts_nothing_is_recommended():
    with pytest.raises(ConfigError, match="train first"):
        recommend(ROWS, "accuracy", "elsewhere")


def test_settings_of_recipe_protocol_and_model_are_laid_over_each_other(tmp_path):
    entry = {"model": "bc_resnet:tau=2", "settings": {"fit_student": {"lr": 0.1}}}
    recipe = {"fit_student": {"epochs": 3, "lr": 0.5}}
    plan = load(tmp_path, recipe=recipe, models=["cnn_mini", entry], seeds=[0, 7])
    assert [(task.label, task.seed) for task in plan.tasks] == [
        ("cnn_mini", 0), ("cnn_mini", 7), ("bc_resnet-tau2", 0), ("bc_resnet-tau2", 7)
    ]  # fmt: skip
    assert len({task.folder for task in plan.tasks}) == 4
    config = configuration.from_dict(plan.tasks[3].settings)
    assert (config.fit_student.epochs, config.fit_student.lr, config.seed, config.teachers) == (3, 0.1, 7, ())
    assert (config.student.name, config.student.kwargs) == ("bc_resnet", {"tau": 2})


def test_a_model_named_on_the_command_line_keeps_the_settings_of_the_file(tmp_path):
    entry = {"model": "cnn_lite", "settings": {"fit_student": {"lr": 0.1}}}
    plan = load(tmp_path, only=("cnn_lite", "mlp_mfcc"))
    assert [task.label for task in plan.tasks] == ["cnn_lite", "mlp_mfcc"]
    path = write_plan(tmp_path, models=["cnn_mini", entry])
    (task,) = planning.load_plan(path, tmp_path, None, ["cnn_lite"]).tasks
    assert task.settings["fit_student"] == {"lr": 0.1}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"recipy": {}}, "unknown recipy"),
        ({"models": [{"modell": "cnn_mini"}]}, "unknown modell"),
        ({"recipe": {"fit_student": {"epoch": 3}}}, "did you mean 'epochs'"),
        ({"protocols": {"strangers": {"title": "x"}}}, "missing settings"),
        ({"models": "cnn_mini"}, "expected a list"),
        ({"protocols": ["strangers"]}, "protocols is"),
        ({"protocols": None}, "protocols is None"),
        ({"recipe": 3}, "recipe holds int"),
        ({"seeds": 3}, "seeds is 3, expected a list"),
        ({"models": [{"model": "cnn_mini", "protocols": ["stranger"]}]}, "cnn_mini is for protocol stranger"),
        ({"models": [{"model": "cnn_mini", "splits": ["loso:x"]}]}, "cnn_mini has no split of loso:x"),
    ],
)
def test_mistakes_in_the_file_cost_one_line(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def result(split, n_correct, seed=0, n=100):
    return {"split": split, "seed": seed, "accuracy": accuracy_row(split, n_correct, n)}


def test_folds_are_pooled_and_seeds_averaged():
    pooled = results._over_seeds("loso", [result("a", 90), result("b", 80)])
    assert (pooled["n"], pooled["n_correct"]) == (200, 170)
    assert "deviation" not in pooled
    seeds = results._over_seeds("loso", [result("a", 90), result("a", 94, seed=1), result("a", 92, seed=2)])
    assert (seeds["n"], seeds["n_correct"]) == (100, 92)
    assert seeds["deviation"] == pytest.approx(0.02)


def test_a_fold_that_not_every_seed_has_run_does_not_count():
    uneven = results._over_seeds("loso", [result("a", 90), result("b", 10), result("a", 94, seed=1)])
    assert (uneven["n"], uneven["n_correct"]) == (100, 92)


def test_missing_folds_are_said(tmp_path):
    cell = accuracy_row("x", 90, 100) | {"splits": ["loso:fsdd:theo"], "n_splits_planned": 6}
    assert results.accuracy_cell(cell).endswith(" 1 of 6 folds: theo")
    assert results.accuracy_cell(None) == "–"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones in the layout of a plain folder."""
    import soundfile

    folder = tmp_path_factory.mktemp("corpus")
    lines = ["file,label,speaker,source"]
    for i, recording in enumerate(tones(32)):
        soundfile.write(folder / f"{i}.wav", recording.waveform, SAMPLE_RATE)
        lines.append(f"{i}.wav,{recording.label},{recording.speaker},tones")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Arguments of a comparison of two models that has been run, and its folder."""
    folder = tmp_path_factory.mktemp("compared")
    data = {"sources": [f"folder:{corpus}"], "labels": ["low", "high"], "noises": "", "split": "kfold:2:0"}
    plan = write_plan(
        folder,
        recipe={"data": {"validation_fraction": 0}, "fit_student": {"epochs": 2, "lr": 0.01, "batch_size": 8}},
        protocols={"strangers": protocol(settings={"data": data})},
        models=["cnn_mini", {"model": "student_dscnn", "settings": {"student": {"kwargs": TINY}}}],
    )
    words = ["--config", str(plan), "--run-dir", str(folder / "runs"), "--results", str(folder / "compared.json")]
    assert command.main(words) == 0
    return words, folder


@pytest.mark.slow
def test_a_comparison_ends_with_a_table_a_plot_and_a_recommendation(trained, capsys):
    words, folder = trained
    assert command.main([*words, "--read-only", "--use-case", "speed"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert json.loads(printed[-1])["recommended"] in ("cnn_mini", "student_dscnn")
    assert printed[0].startswith("model")
    assert (folder / "runs" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((folder / "compared.json").read_text())
    assert {line["group"] for line in written["rows"]} == {"cnn_mini", "student_dscnn"}
    for line in json.loads(printed[-1])["models"]:
        assert line["accuracy"]["strangers"]["unseen_speakers"]


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again(trained, monkeypatch, capsys):
    words, _ = trained
    monkeypatch.setattr(training, "run_task", lambda *_: pytest.fail("trained again"))
    assert command.main(words) == 0
    assert "2 trainings, 2 of them finished" in capsys.readouterr().out


def test_results_are_read_where_nothing_was_trained_only_as_an_error(tmp_path):
    with pytest.raises(ConfigError, match="nothing has been trained"):
        command.main(["--config", str(write_plan(tmp_path)), "--run-dir", str(tmp_path / "no"), "--read-only"])


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_in_the_same_folder_are_refused(trained, tmp_path, finished):
    folder = trained[1]
    plan = planning.load_plan(folder / "plan.yaml", folder / "runs", None)
    task = plan.tasks[0]
    if not finished:
        (task.folder / RESULT_FILE).rename(tmp_path / "kept.json")
    other = replace(task, settings=configuration.merged(task.settings, {"fit_student": {"epochs": 3}}))
    with pytest.raises(ConfigError, match="other settings"):
        training.run_task(other, None)
    if not finished:
        (tmp_path / "kept.json").rename(task.folder / RESULT_FILE)


@pytest.mark.slow
def test_results_of_an_older_recipe_are_not_those_of_this_one(trained):
    folder = trained[1]
    plan = planning.load_plan(folder / "plan.yaml", folder / "runs", None)
    changed = [replace(t, settings=configuration.merged(t.settings, {"fit_student": {"lr": 0.5}})) for t in plan.tasks]
    for use in (lambda: results.read_results(changed, plan.protocols), lambda: training.train(changed, None, 1)):
        with pytest.raises(ConfigError, match=r"other settings \(fit_student\); remove it"):
            use()


def test_rows_are_called_what_train_distill_takes_or_what_the_file_calls_them(tmp_path):
    entries = ["bc_resnet:tau=2", {"model": "tc_resnet:depth=14", "label": "deep"}]
    assert [task.name for task in load(tmp_path, models=entries).tasks] == ["bc_resnet:tau=2", "deep"]


def test_what_each_seed_gave_is_kept():
    seeds = [accuracy_row("x", n, 100) for n in (90, 92)]
    measured = [{"split": "a", "seed": seed, "accuracy": row} for seed, row in enumerate(seeds)]
    cells = results._seeds_cells(results._over_seeds("x", measured))
    assert cells == {"each seed": "90.00 92.00", "± between seeds": 1.41}
    assert results._seeds_cells(seeds[0]) == {}


def test_models_of_one_text_are_told_apart_by_their_labels(tmp_path):
    entries = [{"model": "cnn_mini", "label": label} for label in ("alone", "taught")]
    assert [task.label for task in load(tmp_path, models=entries).tasks] == ["alone", "taught"]
    assert [task.label for task in load(tmp_path, only=("taught",), models=entries).tasks] == ["taught"]
    assert [task.label for task in load(tmp_path, only=("cnn_mini",), models=entries).tasks] == ["alone", "taught"]
    with pytest.raises(ConfigError, match="cnn_mini names several models"):
        load(tmp_path, models=["cnn_mini", "cnn_mini"])


def test_a_model_is_found_by_the_name_that_the_table_has_for_it(tmp_path):
    entry = {"model": "bc_resnet:tau=2", "settings": {"fit_student": {"lr": 0.1}}}
    plan = load(tmp_path, models=["cnn_mini", entry])
    (task,) = load(tmp_path, only=(plan.tasks[-1].label,), models=["cnn_mini", entry]).tasks
    assert (task.label, task.settings["fit_student"]) == ("bc_resnet-tau2", {"lr": 0.1})


def test_without_the_accuracy_that_counts_the_plot_is_empty(tmp_path):
    results.plot_pareto(ROWS, planning.Protocol("elsewhere", "elsewhere", {}), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text, message", [('{"spl', "cannot be read as JSON"), ('{"rows": []}', "not the result of")])
def test_a_result_that_is_damaged_or_of_another_kind_is_named(tmp_path, monkeypatch, text, message):
    plan = load(tmp_path)
    monkeypatch.setattr(results, "is_finished", lambda task: True)
    plan.tasks[0].folder.mkdir(parents=True)
    (plan.tasks[0].folder / RESULT_FILE).write_text(text)
    with pytest.raises(ConfigError, match=message):
        results.read_results(plan.tasks, plan.protocols)


def test_figures_are_kept_where_no_model_fits(tmp_path, monkeypatch):
    """The table of days of training is not lost because its models are too large for a use."""
    large = {**row("large", 0.97, 8.0, n_params=2_000_000), "epochs": [1], "minutes_per_training": 1.0}
    large |= {"macs": 1, "file": "x", "device": "cpu", "precision": "bf16", "commits": ["a"]}
    large["accuracy"]["strangers"] |= {"splits": ["a"], "n_splits_planned": 1}
    monkeypatch.setattr(command, "read_results", lambda *_: [large])
    monkeypatch.setattr(command, "time_artifacts", lambda *_, **__: [large["latency"]])
    words = ["--config", str(write_plan(tmp_path)), "--run-dir", str(tmp_path), "--read-only", "--use-case=production"]
    with pytest.raises(ConfigError, match="none of 1 models"):
        command.main([*words, "--results", str(tmp_path / "kept.json")])
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept["rows"][0]["group"] == "large"
    assert kept["rows"][0]["precision"] == "bf16" and "trained on cpu, one thread each" in kept["note"]


EMG = {"kind": "emg", "sample_rate": 1000, "n_samples": 512, "n_channels": 4}
SILENT = {"sources": ["emg_simulated:12"], "signal": EMG, "labels": ["UP", "REST"], "split": "kfold:3:0"}
SILENT_TINY = {**TINY, "frontend": {"win_length": 64, "hop_length": 32, "n_fft": 64}}


@pytest.mark.slow
def test_models_of_simulated_emg_are_compared_and_every_figure_says_what_they_heard(tmp_path, capsys):
    plan = write_plan(
        tmp_path,
        recipe={"data": {"validation_fraction": 0}, "fit_student": {"epochs": 1, "lr": 0.01, "batch_size": 8}},
        protocols={"subjects": {"title": "unseen subjects", "settings": {"data": SILENT}}},
        models=[{"model": "student_dscnn", "settings": {"student": {"kwargs": SILENT_TINY}}}],
    )
    words = ["--config", str(plan), "--run-dir", str(tmp_path / "runs"), "--results", str(tmp_path / "silent.json")]
    assert command.main(words) == 0
    *_, table, recommended, _ = capsys.readouterr().out.splitlines()
    assert table.startswith("student_dscnn") and "simulated" in table
    assert "simulated" in recommended
    written = json.loads((tmp_path / "silent.json").read_text())
    assert [line["group"] for line in written["rows"]] == ["student_dscnn, simulated"]


def test_models_of_different_signals_are_not_compared(tmp_path):
    settings = {"data": SILENT, "student": {"kwargs": SILENT_TINY}}
    with pytest.raises(ConfigError, match="models take different signals"):
        load(tmp_path, models=["cnn_mini", {"model": "student_dscnn", "settings": settings}])


def test_the_precision_of_older_results_is_what_was_asked_for(tmp_path):
    for asked, said in (("auto", "auto"), ("fp32", "fp32")):
        (task,) = load(tmp_path, recipe={"student_precision": asked}).tasks
        assert results._precision(task, {}) == said
        assert results._precision(task, {"precision": "bf16"}) == "bf16"


def test_loso_leaves_out_those_who_say_one_of_the_labels(tmp_path):
    import soundfile

    folder = tmp_path / "data" / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for digit, speaker in ((0, "ann"), (1, "ann"), (0, "bob"), (9, "cid")):
        soundfile.write(folder / f"{digit}_{speaker}_0.wav", tones(1)[0].waveform, SAMPLE_RATE)
    settings = {"data": {"sources": ["fsdd"], "labels": [0, 1], "split": "loso"}}
    path = write_plan(tmp_path, protocols={"loso": protocol(settings=settings)})
    tasks = planning.load_plan(path, tmp_path / "runs", str(tmp_path / "data")).tasks
    assert [task.split for task in tasks] == ["loso:fsdd:ann", "loso:fsdd:bob"]


def test_recordings_are_read_as_the_signal_of_the_recipe(monkeypatch):
    read = []
    monkeypatch.setattr(training.pipeline, "read_recordings", lambda data, *_, **__: read.append(data) or ([], []))
    monkeypatch.setattr(training.pipeline, "divide", lambda *_: None)
    emg = {"kind": "emg", "sample_rate": 250, "n_samples": 250, "n_channels": 2}
    config = configuration.from_dict({"data": {"sources": ["emg:somewhere"], "labels": ["UP", "DOWN"], "signal": emg}})
    training._material(config, None)
    assert (read[0].signal, read[0].labels) == (config.data.signal, ("UP", "DOWN"))


def test_an_unknown_protocol_is_named_with_those_that_there_are(refusal, tmp_path):
    argv = ["--config", write_plan(tmp_path), "--protocols", "stranger", "--run-dir", tmp_path / "runs"]
    assert "has no protocol stranger; expected some of strangers" in refusal(command.main, argv)


def test_an_unknown_model_is_named_before_recordings_are_looked_for(refusal, tmp_path):
    argv = ["--models", "nope", "--data-dir", tmp_path, "--run-dir", tmp_path / "runs"]
    assert refusal(command.main, argv).startswith("error: unknown model 'nope'; choose one of ")
    assert list(tmp_path.iterdir()) == []
