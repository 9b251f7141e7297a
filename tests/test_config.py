"""Defaults, differences from files, overrides, and what a wrong setting is told."""

import dataclasses
import json

import pytest

from edgedigit.config import (
    Config,
    DataConfig,
    apply_overrides,
    differences,
    from_dict,
    from_stored,
    load_config,
    to_dict,
    with_setting,
)
from edgedigit.errors import ConfigError

WEIGHTS = (1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5)


def written(tmp_path, text, name="experiment.yaml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_given_is_the_defaults():
    assert load_config(None) == Config() == from_dict({})


def test_distillation_defaults_are_those_that_are_documented():
    config = Config()
    assert (config.distill.temperature, config.distill.alpha) == (4.0, 0.7)
    assert (config.compress.target_sparsity, config.compress.pruning_steps) == (0.4, 8)
    assert [teacher.name for teacher in config.teachers] == ["resnet_se"]
    assert config.student.name == "student_dscnn"


def test_defaults_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


def test_a_file_states_only_differences(tmp_path):
    path = written(tmp_path, "data: {split: 'loso:george', sources: [fsdd, synth]}\nfit_student: {epochs: 3}\n")
    config = load_config(path)
    assert config.data == dataclasses.replace(Config().data, split="loso:george", sources=("fsdd", "synth"))
    assert config.fit_student == dataclasses.replace(Config().fit_student, epochs=3)
    assert config.augment == Config().augment
    assert config.fit_teacher == Config().fit_teacher


def test_json_is_read_as_well(tmp_path):
    assert load_config(written(tmp_path, '{"seed": 7}', "experiment.json")).seed == 7


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load_config(written(tmp_path, "# nothing differs\n")) == Config()


def test_models_carry_their_options(tmp_path):
    text = "teachers:\n  - name: resnet_se\n    kwargs: {widths: [8, 8, 8, 8]}\n  - name: ds_cnn\n"
    teachers = load_config(written(tmp_path, text)).teachers
    assert [teacher.name for teacher in teachers] == ["resnet_se", "ds_cnn"]
    assert [teacher.kwargs for teacher in teachers] == [{"widths": [8, 8, 8, 8]}, {}]


def test_no_teacher_is_a_valid_choice():
    assert from_dict({"teachers": []}).teachers == ()


def test_plain_values_and_back():
    config = load_config(None, ["augment.snr_db=[5, 20]", "data.labels=[1, 2]", "teachers=[]"])
    plain = to_dict(config)
    assert json.loads(json.dumps(plain)) == plain
    assert from_dict(plain) == config


@pytest.mark.parametrize(
    "text, name, kwargs, label",
    [
        ("ds_cnn", "ds_cnn", {}, "ds_cnn"),
        ("bc_resnet:tau=3", "bc_resnet", {"tau": 3}, "bc_resnet-tau3"),
        (
            "resnet_se:frontend.kind=mfcc,frontend.n_mfcc=13,dropout=0.1",
            "resnet_se",
            {"frontend": {"kind": "mfcc", "n_mfcc": 13}, "dropout": 0.1},
            "resnet_se-frontend.kindmfcc-frontend.n_mfcc13-dropout0.1",
        ),
        (
            "resnet_se:widths=[8,8],dropout=0",
            "resnet_se",
            {"widths": [8, 8], "dropout": 0},
            "resnet_se-widths-8-8-dropout0",
        ),
        (
            "resnet_se:frontend={kind: mfcc, n_mfcc: 13}",
            "resnet_se",
            {"frontend": {"kind": "mfcc", "n_mfcc": 13}},
            None,
        ),
    ],
)
def test_a_text_stands_for_a_model(tmp_path, text, name, kwargs, label):
    """In a file, in an override, as the student and among the teachers; to config.json and back."""
    configs = [
        load_config(written(tmp_path, json.dumps({"student": text, "teachers": [text]}), "models.json")),
        load_config(
            None, [f"student={text}" if "{" not in text else f"student={text!r}", f"teachers={json.dumps([text])}"]
        ),
    ]
    for config in configs:
        for model in (config.student, config.teachers[0]):
            assert (model.name, model.kwargs) == (name, kwargs)
            assert label is None or model.label == label
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    "text, words",
    [
        ("bc_resnet:tau", "option 'tau' has no value; write it as KEY=VALUE"),
        ("bc_resnet:=3", "option '=3' has no value"),
        ("resnet_se:widths=[8", "the value of 'widths' is not valid YAML"),
    ],
)
def test_a_text_that_stands_for_no_model_is_one_line(text, words):
    with pytest.raises(ConfigError) as raised:
        from_dict({"student": text})
    assert words in str(raised.value) and repr(text) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_options_are_changed_one_by_one_after_a_text():
    text = "student=resnet_se:frontend.kind=mfcc,widths=[8,8]"
    overrides = [text, "student.kwargs.frontend.n_mfcc=13", "student.kwargs.widths=[4,4]"]
    student = load_config(None, overrides).student
    assert student.kwargs == {"frontend": {"kind": "mfcc", "n_mfcc": 13}, "widths": [4, 4]}
    assert student.label == load_config(None, [text]).student.label  # files keep their name
    assert load_config(None, [*overrides, "student.label=mine"]).student.label == "mine"


def test_another_model_has_none_of_the_options_of_the_one_before():
    student = load_config(None, ["student=bc_resnet:tau=3", "student.name=kwt"]).student
    assert (student.name, student.kwargs, student.label) == ("kwt", {}, "kwt")


@pytest.mark.parametrize("label", ["a/b", "../up", "a b", "x:y"])
def test_a_label_that_cannot_name_a_file_is_refused(label):
    with pytest.raises(ConfigError, match="expected letters, digits"):
        from_dict({"student": {"name": "ds_cnn", "label": label}})


@pytest.mark.parametrize(
    "override, section, key, value",
    [
        ("fit_student.lr=3e-3", "fit_student", "lr", 3e-3),
        ("fit_student.lr=1", "fit_student", "lr", 1.0),
        ("fit_student.epochs=7", "fit_student", "epochs", 7),
        ("gates.max_size_bytes=5e5", "gates", "max_size_bytes", 500_000),
        ("gates.max_size_bytes=5.0e+5", "gates", "max_size_bytes", 500_000),
        ("augment.enabled=false", "augment", "enabled", False),
        ("augment.snr_db=[5, 2e1]", "augment", "snr_db", (5.0, 20.0)),
        ("data.sources=[fsdd, 'folder:mine']", "data", "sources", ("fsdd", "folder:mine")),
        ("data.labels=[3, 7]", "data", "labels", ("3", "7")),
        ("data.split=kfold:5:0", "data", "split", "kfold:5:0"),
        ("data.noises=''", "data", "noises", ""),
        ("fit_student.class_weights=balanced", "fit_student", "class_weights", "balanced"),
        ("fit_student.class_weights=[1, 2, 1, 1, 1, 1, 1, 1, 1, 0.5]", "fit_student", "class_weights", WEIGHTS),
    ],
)
def test_overrides_have_the_type_of_their_setting(override, section, key, value):
    got = getattr(getattr(load_config(None, [override]), section), key)
    assert got == value
    assert type(got) is type(value)


def test_overrides_go_over_the_file_and_the_last_one_wins(tmp_path):
    path = written(tmp_path, "fit_student: {epochs: 3, lr: 0.001}\n")
    config = load_config(path, ["fit_student.epochs=4", "fit_student.epochs=5"])
    assert (config.fit_student.epochs, config.fit_student.lr) == (5, 0.001)


@pytest.mark.parametrize(
    "override, words",
    [
        ("fit_studnt.lr=1", ["fit_studnt", "did you mean 'fit_student'"]),
        ("fit_student.epoch=1", ["fit_student.epoch", "did you mean 'epochs'"]),
        ("zzz=1", ["zzz", "known:", "fit_student"]),
        ("fit_student.epochs=many", ["fit_student.epochs", "'many'", "int"]),
        ("fit_student.epochs=1.5", ["fit_student.epochs", "1.5", "int"]),
        ("fit_student.epochs=true", ["fit_student.epochs", "True", "int"]),
        ("gates.max_size_bytes=5.5e-1", ["gates.max_size_bytes", "0.55", "int"]),
        ("gates.max_size_bytes=.inf", ["gates.max_size_bytes", "inf", "int"]),
        ("fit_student.lr=fast", ["fit_student.lr", "'fast'", "number"]),
        ("augment.enabled=1", ["augment.enabled", "bool"]),
        ("augment.snr_db=[1, 2, 3]", ["augment.snr_db", "3 values", "expected 2"]),
        ("augment.snr_db=5", ["augment.snr_db", "list"]),
        ("data.sources=fsdd", ["data.sources", "'fsdd'", "list"]),
        ("distill=4", ["distill", "keys and values"]),
        ("teachers=[{}]", ["teachers[0] lacks name"]),
        ("fit_student.epochs=0", ["epochs is 0", "1 or more"]),
        ("fit_teacher.batch_size=1", ["batch_size is 1", "2 or more"]),
        ("fit_student.lr=0", ["lr is 0", "more than 0"]),
        ("fit_student.lr=.nan", ["lr is nan"]),
        ("fit_student.optimizer=adam", ["optimizer is 'adam'", "expected one of adamw, sgd"]),
        ("fit_student.schedule=linear", ["schedule is 'linear'", "one_cycle, cosine, step, plateau"]),
        ("fit_student.loss=mse", ["loss is 'mse'", "cross_entropy, focal"]),
        ("fit_student.momentum=1", ["momentum is 1.0", "more than 0 and below 1"]),
        ("fit_student.decay_factor=0", ["decay_factor is 0", "more than 0 and below 1"]),
        ("fit_student.decay_epochs=0", ["decay_epochs is 0", "1 or more"]),
        ("fit_student.warmup_share=1", ["warmup_share is 1", "below 1"]),
        ("fit_student.label_smoothing=2", ["label_smoothing is 2", "below 1"]),
        ("fit_student.focal_gamma=-1", ["focal_gamma is -1", "0 or more"]),
        ("fit_student.checkpoint_epochs=-1", ["checkpoint_epochs is -1", "0 or more"]),
        ("fit_student.class_weights=even", ["class_weights is 'even'", "'balanced' or a list"]),
        ("fit_student.class_weights=true", ["fit_student.class_weights is True", "list"]),
        ("fit_student.class_weights=[1, two]", ["fit_student.class_weights[1]", "'two'", "number"]),
        ("fit_student.class_weights=[1, -1]", ["class_weights is [1.0, -1.0]", "from 0"]),
        ("fit_student.class_weights=[0, 0]", ["class_weights is [0.0, 0.0]", "not all 0"]),
        ("fit_teacher.class_weights=[1, 2]", ["fit_teacher.class_weights has 2 values", "10 labels"]),
        ("data.noise_part=test", ["noise_part is 'test'", "train, all"]),
        ("precision=fp8", ["precision is 'fp8'", "auto, bf16, fp16, fp32"]),
        ("student_precision=half", ["student_precision is 'half'", "auto, bf16, fp16, fp32"]),
        ("device=tpu", ["device is 'tpu'", "cpu, cuda"]),
        ("compress.final_epochs=0", ["final_epochs is 0"]),
        ("distill.temperature=0", ["temperature is 0", "more than 0"]),
        ("distill.feature_weight=-1", ["feature_weight is -1", "0 or more"]),
        ("distill.teacher_weights=[1, 2]", ["distill.teacher_weights has 2 values", "1 teachers"]),
        ("compress.qat_epochs=-1", ["qat_epochs is -1", "0 or more"]),
        ("distill.alpha=1.1", ["alpha is 1.1", "0 to 1"]),
        ("augment.room_probability=1.5", ["augment.room_probability is 1.5", "0 to 1"]),
        ("augment.speed_range=1.0", ["augment.speed_range is 1.0", "below 1"]),
        ("augment.snr_db=[.nan, 1]", ["augment.snr_db[0] is nan", "number"]),
        ("augment.snr_db=[3, 1]", ["snr_db", "lower bound first"]),
        ("augment.gate_db=[.inf, .inf]", ["gate_db", "finite"]),
        ("emg_augment.snr_db=[-.inf, 1]", ["emg_augment.snr_db", "finite"]),
        ("augment.shift_ms=-1", ["shift_ms is -1", "0 or more"]),
        ("augment.equalizer_db=-1", ["equalizer_db is -1", "0 or more"]),
        ("augment.gain_db=.inf", ["gain_db is inf", "finite"]),
        ("augment.time_masks=-1", ["time_masks is -1", "0 or more"]),
        ("augment.time_mask_ms=.inf", ["time_mask_ms is inf", "finite"]),
        ("augment.frequency_masks=-1", ["frequency_masks is -1", "0 or more"]),
        ("augment.mixup_alpha=.inf", ["mixup_alpha is inf", "finite"]),
        ("fit_student.gradient_clip=0", ["gradient_clip is 0", "more than 0", ".inf clips nothing"]),
        ("fit_student.gradient_clip=-1", ["gradient_clip is -1", "more than 0"]),
        ("fit_student.ema_decay=1", ["ema_decay is 1", "below 1"]),
        ("fit_student.lr=.inf", ["lr is inf", "finite"]),
        ("fit_student.weight_decay=nan", ["fit_student.weight_decay is nan", "number"]),
        ("distill.temperature=.inf", ["temperature is inf", "finite"]),
        ("compress.lr=-1", ["lr is -1", "more than 0"]),
        ("gates.max_int8_loss=.nan", ["gates.max_int8_loss is nan", "number"]),
        ("seed", ["seed", "no '='"]),
        ("seed=[1", ["seed", "not valid YAML"]),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override, words):
    with pytest.raises(ConfigError) as raised:
        load_config(None, [override])
    message = str(raised.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert "kwargs" not in message


def test_a_configuration_stored_before_noises_were_divided_had_all_of_them():
    stored = to_dict(Config())
    assert from_stored(stored).data.noise_part == "train"
    del stored["data"]["noise_part"]
    assert from_stored(stored).data.noise_part == "all"
    assert from_stored({"data": {"signal": {"kind": "emg", "n_channels": 2}}}).data.noise_part == "train"  # has none


def test_an_unknown_key_in_a_file_names_its_place(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.splitt.*did you mean 'split'"):
        load_config(written(tmp_path, "data: {splitt: all}"))


@pytest.mark.parametrize(
    "text, words",
    [
        ("a: [1", "not valid YAML"),
        ("- fsdd\n- synth\n", "list, expected keys and values"),
        ("just words", "str, expected keys and values"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as raised:
        load_config(written(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_file_that_is_not_text(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK\x03\x04\xff\xfe\x00\x9c")
    with pytest.raises(ConfigError, match=r"model\.pt"):
        load_config(path)


def test_only_named_sections_may_change():
    only = ("compress", "gates")
    changed = apply_overrides(Config(), ["compress.lr=1e-4", "gates.max_n_params=10"], only=only)
    assert (changed.compress.lr, changed.gates.max_n_params) == (1e-4, 10)
    with pytest.raises(ConfigError, match=r"data\.split was fixed .* compress, gates"):
        apply_overrides(Config(), ["data.split=all"], only=only)


def test_overrides_start_from_the_given_configuration():
    base = Config(data=DataConfig(split="all"), seed=3)
    changed = apply_overrides(base, ["data.seed=4"])
    assert changed == dataclasses.replace(base, data=DataConfig(split="all", seed=4))
    assert base.data.seed == 0


def test_one_setting_is_changed_by_its_dotted_key():
    changed = with_setting(Config(), "fit_student.lr", 0.25)
    assert changed == dataclasses.replace(Config(), fit_student=dataclasses.replace(Config().fit_student, lr=0.25))
    with pytest.raises(ConfigError, match="did you mean 'lr'"):
        with_setting(Config(), "fit_student.lrr", 0.25)


def test_one_option_of_a_front_end_leaves_the_others_alone():
    config = load_config(None, ["student.kwargs={dropout: 0.2, frontend: {kind: mfcc, n_mels: 40}}"])
    changed = with_setting(config, "student.kwargs.frontend.n_mels", 32)
    assert changed.student.kwargs == {"dropout": 0.2, "frontend": {"kind": "mfcc", "n_mels": 32}}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["fit_student.lr=1", "augment.snr_db=[5, 20]", "teachers=[]"],
        ["student=bc_resnet:tau=1", "data.labels=[0, 1]"],
        ["student.kwargs.widths=[8, 12, 16]"],
    ],
)
def test_differences_are_what_a_file_has_to_state(tmp_path, overrides):
    config = load_config(None, overrides)
    stated = differences(config)
    assert set(stated) == {override.partition("=")[0].split(".")[0] for override in overrides}
    assert load_config(written(tmp_path, json.dumps(stated))) == config


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_need_each_other_come_in_any_order(order):
    settings = ["distill.teacher_weights=[1, 3]", "teachers=[resnet_se, effnet]"][::order]
    assert load_config(None, settings).distill.teacher_weights == (1.0, 3.0)
    settings = ["fit_student.class_weights=[1, 2]", "data.labels=[0, 1]"][::order]
    assert load_config(None, settings).fit_student.class_weights == (1.0, 2.0)


@pytest.mark.parametrize("fit", ["fit_student", "fit_teacher"])
def test_labels_are_not_evened_twice(fit):
    """Export takes out how often `_unknown_` was drawn; weights that had done so would be undone."""
    labels = "data.labels=[yes_, no_, _unknown_]"
    with pytest.raises(ConfigError, match=f"{fit}.class_weights is 'balanced', but .* leave class_weights out"):
        load_config(None, [labels, f"{fit}.class_weights=balanced"])
    assert load_config(None, [labels, f"{fit}.class_weights=[1, 2, 1]"])
    assert load_config(None, ["data.labels=[yes_, no_]", f"{fit}.class_weights=balanced"])


def test_later_settings_reach_into_earlier_ones():
    config = load_config(None, ["student=ds_cnn:depth=2", "student.kwargs.width=16", "seed=1", "seed=2"])
    assert (config.student.name, config.student.kwargs, config.seed) == ("ds_cnn", {"depth": 2, "width": 16}, 2)
    assert load_config(None, ["student.kwargs.width=16", "student=ds_cnn"]).student.kwargs == {}


def test_a_refused_value_is_named_with_where_it_stands():
    with pytest.raises(ConfigError, match=r"^fit_student: epochs is 0"):
        from_dict({"fit_student": {"epochs": 0}})
    with pytest.raises(ConfigError, match=r"^data\.unknown\.cut_keep is"):
        from_dict({"data": {"unknown": {"cut_keep": [0.5, 0.1]}}})
