"""Where a model comes from is found in its manifest, in its run folder, and below an enrolled model."""

import json

import pytest
from tiny_model import build_tiny_model

from edgedigit.config import Config, to_dict, with_setting
from edgedigit.errors import ConfigError
from edgedigit.manifest import sha256_of, write_manifest
from edgedigit.provenance import config_of, trained_file, training_facts


@pytest.fixture
def model(tmp_path):
    return build_tiny_model(tmp_path / "final-int8.onnx")


@pytest.fixture
def settings():
    return to_dict(with_setting(Config(), "seed", 7))


def enroll_on(model, path):
    path.parent.mkdir(exist_ok=True)
    told = {"clips": {"yes": 10}, "on": model.name, "sha256": sha256_of(model)}
    return build_tiny_model(path, enrolled=json.dumps(told))


def test_nothing_is_known_of_a_model_alone(model):
    assert config_of(model) is None and training_facts(model) == {"seeds": []}


def test_a_run_folder_tells_what_a_manifest_would(model, settings):
    model.with_name("config.json").write_text(json.dumps(settings))
    assert config_of(model).seed == 7 and training_facts(model)["seeds"] == [7]
    write_manifest(model, {"config": {**settings, "seed": 8}})
    assert config_of(model).seed == 8, "the manifest is the model's own"


def test_an_enrolled_model_has_the_training_of_the_model_below_it(model, settings, tmp_path):
    write_manifest(model, {"config": settings})
    beside, elsewhere = (enroll_on(model, path) for path in (tmp_path / "mine.onnx", tmp_path / "far" / "mine.onnx"))
    assert trained_file(beside) == model and config_of(beside).seed == 7
    assert trained_file(elsewhere) is None and config_of(elsewhere) is None
    build_tiny_model(model, version="0.0.other")  # of that name, and another
    assert trained_file(beside) is None


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read as JSON"), ('{"data": {"x": 1}}', "does not fit")])
def test_damaged_settings_are_named(model, text, words):
    model.with_name("config.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        config_of(model)
