"""Labels are doubted where nets that never heard the speaker agree on another; what is doubted trains less."""

import json

import pytest
from tiny_training import write_tones

from edgedigit import label_issues
from edgedigit.cli import run_main
from edgedigit.config import load_config
from edgedigit.data.label_issues import read_label_issues
from edgedigit.train import pipeline, scoring

CLIPS = [  # name, label, speaker, source, answers of two nets
    ("crowd/a.wav", "0", "crowd:1", "crowd", "0", "0"),
    ("crowd/b.wav", "0", "crowd:1", "crowd", "1", "1"),
    ("crowd/c.wav", "1", "crowd:2", "crowd", "0", "2"),
    ("crowd/d.wav", "1", "crowd:2", "crowd", "0", "1"),
    ("studio/e.wav", "1", "studio:3", "studio", "0", "0"),
]


def cross_validation(folder, net, clips=CLIPS, part="test"):
    """Folders of two folds with the answers of one of the nets."""
    for fold, rows in enumerate((clips[:2], clips[2:])):
        (folder / f"kfold-2-{fold}").mkdir(parents=True)
        rows = [("final", "student", part, *row[:4], row[4 + net]) for row in rows]
        rows.append(("final", "student", "validation, unseen speakers", "crowd/v.wav", "0", "crowd:9", "crowd", "1"))
        scoring.write_answers(folder / f"kfold-2-{fold}" / pipeline.STUDENT_ANSWERS_FILE, rows)
    return folder


@pytest.fixture
def runs(tmp_path):
    return [str(cross_validation(tmp_path / name, net)) for net, name in enumerate(("small", "large"))]


def test_only_agreement_on_another_label_is_an_issue_and_only_in_the_sources_named(tmp_path, runs, capsys):
    path = tmp_path / "new" / "issues.json"
    assert run_main(label_issues.main, [*runs, "--sources", "crowd", "--write", str(path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].strip() == "crowd: 1 of 4 labels in doubt"
    assert json.loads(out[-1])["n_issues"] == 1
    assert read_label_issues(path) == {"crowd/b.wav": "1"}
    assert json.loads(path.read_text())["n"] == 4


@pytest.mark.parametrize(("first_fold", "n_issues"), [("1", 1), ("0", 0), ("2", 0)])
def test_of_a_recording_that_several_folds_tested_every_fold_has_a_say(tmp_path, first_fold, n_issues):
    """The net of the last fold gives another label in either cross-validation."""
    other = ("crowd/a.wav", "0", "crowd:1", "crowd", "1", "1")
    clips = [("crowd/a.wav", "0", "crowd:1", "crowd", first_fold, "1"), *CLIPS[2:4], other]
    judges = [
        label_issues.answers_of(cross_validation(tmp_path / name, net, clips), ["crowd"])
        for net, name in enumerate(("small", "large"))
    ]
    assert len(label_issues.find(judges)) == n_issues


def test_wrong_requests_are_one_clear_line(tmp_path, runs, refusal):
    write = ["--write", tmp_path / "issues.json"]
    assert "two or more" in refusal(label_issues.main, [runs[0], "--sources", "crowd", *write])
    assert "holds no folds" in refusal(label_issues.main, [runs[0], tmp_path, "--sources", "crowd", *write])
    line = refusal(label_issues.main, [*runs, "--sources", "crowd", "elsewhere", *write])
    assert "nothing of elsewhere" in line and "crowd, studio" in line
    fewer = cross_validation(tmp_path / "fewer", 0, CLIPS[1:])
    assert "different recordings" in refusal(label_issues.main, [runs[0], fewer, "--sources", "crowd", *write])
    assert not (tmp_path / "issues.json").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"issues": ["a.wav"]}', '{"issues": {"a.wav": 3}}'])
def test_a_file_that_is_no_list_of_issues_is_refused(tmp_path, content, refusal):
    path = tmp_path / "issues.json"
    if content is not None:
        path.write_text(content)
    line = refusal(lambda _: read_label_issues(path), [])
    assert line.startswith(f"error: data.label_issues {path}")


@pytest.mark.parametrize("share", [0, 1.1, -1])
def test_a_share_is_above_0_and_at_most_1(share, refusal):
    assert "label_issue_share" in refusal(lambda _: load_config(None, [f"data.label_issue_share={share}"]), [])


def test_a_recipe_that_names_the_file_draws_these_recordings_more_seldom(tmp_path):
    write_tones(tmp_path / "tones")
    plain = ["data.sources=['folder:tones']", "data.labels=['0','1']", "data.split=all", "data.noises=''"]
    plain += ["data.validation_fraction=0"]
    config = load_config(None, plain)
    material = pipeline.load_material(config, tmp_path, progress=False)
    doubted = material.tracks[0].train[3].name
    path = tmp_path / "issues.json"
    path.write_text(json.dumps({"issues": {doubted: "9"}}))
    config = load_config(None, [*plain, f"data.label_issues={path}", "data.label_issue_share=0.2"])
    batches = pipeline.make_batches(config, material.tracks[0], config.fit_student, [], seed=0, taught=False)
    of_label = [i for i, r in enumerate(batches.recordings) if r.label == batches.recordings[3].label and i != 3]
    assert batches.weights[3] / batches.weights[of_label].max() == pytest.approx(0.2, rel=0.01)
