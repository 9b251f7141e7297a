"""One self-contained HTML page about one or several runs, and the same pictures as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np

from edgedigit import features
from edgedigit.audio import fix_length, write_wav
from edgedigit.errors import EdgedigitError, InputError, MissingDependencyError
from edgedigit.figures import confusion_figure, save_png, svg_text
from edgedigit.labels import NON_DIGIT, kind_of
from edgedigit.metrics import confusion_matrix
from edgedigit.report import plots
from edgedigit.report.evaluation import Clip, answer_clips, hardest, load_evaluations, pruning_points
from edgedigit.report.runs import STAGES, Run, accuracy_by, read_runs
from edgedigit.spec import FrontendSpec
from edgedigit.train.pipeline import SIMULATED_PART, SYNTHETIC_PART

TEMPLATE = "page.html.jinja"
MAX_ROWS = 12  # of a table before the rest is folded away


@dataclass(frozen=True)
class Picture:
    """An inline SVG with its caption; `about` says how to read it."""

    svg: str
    caption: str
    about: str = ""


@dataclass(frozen=True)
class Part:
    """Validation or test of a run: how many were right, by what, and which clips were hardest.

    Attributes:
        title: with what the speakers are to the model.
        all: row as `metrics.accuracy_row`.
        tables: (what the groups are, rows).
        matrix: counts (n_labels, n_labels) and shares of their rows.
        clips: hardest first, each with a player; empty without recordings.
        wrong: answers that are wrong, where there are no clips.
    """

    title: str
    all: dict
    tables: list[tuple[str, list[dict]]]
    matrix: list[list[tuple[int, float]]]
    clips: list[dict] = field(default_factory=list)
    wrong: list[dict] = field(default_factory=list)


@dataclass
class Section:
    """What the page says about one run."""

    run: Run
    anchor: str
    facts: list[tuple[str, str]]
    stages: list[dict] = field(default_factory=list)
    curves: list[tuple[str, list[Picture]]] = field(default_factory=list)
    pruning: list[Picture] = field(default_factory=list)
    pruning_rows: list[dict] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole_parts(self) -> list[dict]:
        """For each part `title n rows`; rows are (stage, accuracy row on all its clips)."""
        groups: dict[str, list[tuple[dict, dict]]] = {}
        for stage in self.stages:
            for row in filter(_is_whole, stage["accuracy"]):
                groups.setdefault(row["group"], []).append((stage, row))
        return [{"title": self.run.title(name), "n": rows[0][1]["n"], "rows": rows} for name, rows in groups.items()]


def write_page(folders: Sequence[str | Path], out: Path, data_dir: str | None = None, n_clips: int = 12) -> list[str]:
    """Write the page to `out` and its pictures as PNG into the folder of that name without suffix.

    Args:
        folders: of the runs, finished or not.
        data_dir: of the recordings (else EDGEDIGIT_DATA, else the user's cache); without them the page has no players.
        n_clips: hardest clips of each part.

    Returns:
        What the page could not show, one line each.

    Raises:
        ConfigError: if a folder holds no run.
        InputError: if a file of a run is damaged, or no run has finished an epoch.
        MissingDependencyError: if matplotlib or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingDependencyError.of("Jinja2", "train") from None
    runs = read_runs(folders)
    if not any(run.phases for run in runs):
        raise InputError(f"{', '.join(map(str, folders))}: no epoch has been logged yet; wait for the first")
    sections = []
    for i, run in enumerate(runs, start=1):
        name = f"{i}-{run.name.replace('/', '-')}"
        folder = out.with_suffix("") if len(runs) == 1 else out.with_suffix("") / name
        sections.append(_section(run, f"run{i}", folder, data_dir, n_clips))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "megas": lambda macs: f"{macs / 1e6:.2f}"}
    rows = comparison(sections) if len(sections) > 1 else []
    page = environment.get_template(TEMPLATE).render(
        title=f"Training {runs[0].name}" if len(runs) == 1 else f"{len(runs)} trainings",
        sections=sections,
        comparison=rows,
        same_clips=_same_clips(sections),
        stage_names=STAGES,
        max_rows=MAX_ROWS,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return [f"{section.run.name}: {note}" for section in sections for note in section.notes]


def comparison(sections: Sequence[Section]) -> list[dict]:
    """One row for each run: `name anchor stage parts n_params macs size_bytes latency epochs minutes`."""
    rows = []
    for section in sections:
        run = section.run
        unpruned = {} if run.compressed else run.student
        product = next((stage for stage in reversed(section.stages) if stage["stage"] == run.stage), unpruned)
        student = f"-{run.config.student.label}"
        rows.append(
            {
                "name": run.name,
                "anchor": section.anchor,
                "stage": STAGES[run.stage],
                "parts": section.parts,
                **{key: product.get(key) for key in ("n_params", "macs", "size_bytes", "latency")},
                "epochs": max((len(log) for phase, log in run.phases.items() if phase.endswith(student)), default=0),
                "minutes": _minutes(run),
            }
        )
    return rows


def _section(run: Run, anchor: str, folder: Path, data_dir: str | None, n_clips: int) -> Section:
    section = Section(run, anchor, _facts(run))

    def picture(figure, name: str, caption: str, about: str = "") -> Picture:
        save_png(figure, folder / f"{name}.png")
        return Picture(svg_text(figure, f"{anchor}-{name}"), caption, about)

    for track in run.tracks:
        drawn, known = [], ""
        if (found := plots.distillation_figure(run, track)) is not None:
            known, figure = found
            about = "The student learns from the teachers' mean; broken lines are theirs."
            drawn.append(picture(figure, f"{track}-distillation", f"Distillation: {known}", about))
        for key, text, figure in plots.training_figures(run, track):
            if not text.lower().startswith(known) or not known:  # which has been drawn already
                drawn.append(picture(figure, f"{track}-{key}", text))
        for key, text, figure in plots.fine_tuning_figures(run, track):
            about = "At dotted lines channels leave; after the last of them the student recovers."
            drawn.append(picture(figure, f"{track}-pruning-{key}", text, about))
        section.curves.append((track, drawn))
    section.stages = list(run.compressed.get("stages", []))
    answers = [row for row in run.answers if row["stage"] == run.stage]
    clips: list[Clip] = []
    if not run.student:
        section.notes.append("training has not finished: curves only")
    else:
        try:
            material = load_evaluations(run.config, data_dir)
            clips = answer_clips(run, material)
            section.pruning_rows = pruning_points(run, material)
        except EdgedigitError as error:  # a page without players is better than none
            reason = str(error).partition(";")[0]  # what to do would be about training
            steps = " and no accuracy between pruning steps" if run.compressed else ""
            section.notes.append(f"no players{steps}: {reason}")
    if clips and answers and {clip.recording.name for clip in clips} != {row["name"] for row in answers}:
        section.notes.append("no players: the recordings are no longer those that the run was measured on")
        clips = []
    answers = answers or [clip.as_answer() for clip in clips]
    for part in dict.fromkeys(row["part"] for row in answers):
        section.parts.append(_part(run, part, answers, clips, folder, n_clips))
    if not answers:
        section.parts = [
            Part(run.title(row["group"]), row, [], []) for row in run.student.get("accuracy", []) if _is_whole(row)
        ]
    if section.pruning_rows:
        sizes = (("n_params", "parameters", "thousands", 1e-3), ("macs", "multiply-accumulates", "millions", 1e-6))
        for key, label, unit, scale in sizes:
            figure = plots.pruning_figure(section.pruning_rows, key, f"{label}, {unit}", scale)
            about = "From right to left: each point is one pruning step. Bars: 95 % Wilson intervals."
            section.pruning.append(picture(figure, f"accuracy-{key}", f"Accuracy against {label}", about))
    return section


def _is_whole(row: dict) -> bool:
    """Whether a row of student.json is about a whole part, not one of its sources or speakers."""
    return row["group"].removesuffix(SIMULATED_PART).removesuffix(SYNTHETIC_PART) in (
        "test",
        "validation, same speakers",
        "validation, unseen speakers",
    )


def _part(run: Run, name: str, answers: Sequence[dict], clips: Sequence[Clip], folder: Path, n_clips: int) -> Part:
    labels = run.config.data.labels
    rows = [row for row in answers if row["part"] == name]
    index = {label: i for i, label in enumerate(labels)}
    pairs = np.array([(index[row["label"]], index[row["answer"]]) for row in rows])
    counts = confusion_matrix(pairs[:, 0], pairs[:, 1], len(labels))
    save_png(confusion_figure(counts, labels, run.title(name)), folder / f"confusion_{name.partition(',')[0]}.png")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    digits = [row for row in rows if row["label"] != NON_DIGIT] or rows  # which stands by itself, among the labels
    speakers = sorted(accuracy_by(digits, "speaker"), key=lambda row: (row["accuracy"], -row["n"]))
    own = [clip for clip in clips if clip.part == name and run.config.data.signal.kind == "audio"]
    return Part(
        run.title(name),
        accuracy_by(digits, lambda row: "all clips")[0],
        [
            (kind_of(labels), accuracy_by(rows, "label")),
            ("source", accuracy_by(digits, "source")),
            ("speaker", speakers),
        ],
        [list(zip(map(int, c), map(float, s), strict=True)) for c, s in zip(counts, shares, strict=True)],
        [_card(clip) for clip in hardest(own, n_clips)],
        [] if own else [row for row in rows if row["label"] != row["answer"]],
    )


def _card(clip: Clip) -> dict:
    """What the page shows of a clip: the sound and the features of the second that the model hears."""
    spec = FrontendSpec()
    recording = clip.recording
    window = fix_length(recording.waveform, spec.n_samples)
    sound = recording.waveform if recording.waveform.size < spec.n_samples else window  # padding need not be heard
    wav = BytesIO()
    write_wav(wav, sound, recording.sample_rate)
    return {
        "clip": clip,
        "wav": base64.b64encode(wav.getvalue()).decode("ascii"),
        "png": base64.b64encode(_features_png(window, spec)).decode("ascii"),
    }


def _features_png(window: np.ndarray, spec: FrontendSpec) -> bytes:
    from matplotlib.image import imsave

    buffer = BytesIO()
    imsave(buffer, features.log_mel(window[None], spec)[0, 0], cmap="magma", origin="lower", format="png")
    return buffer.getvalue()


def _facts(run: Run) -> list[tuple[str, str]]:
    config = run.config
    if run.compressed:
        state = f"trained, pruned and quantised; the product is {STAGES[run.stage]}"
    elif run.student:
        state = "trained, not pruned yet"
    else:
        state = "training"
        if run.phases:
            phase, records = list(run.phases.items())[-1]
            state += f": {phase} after epoch {records[-1]['epoch']}"
    if run.student.get("macs") and not run.compressed:  # then the table of stages says it
        sizes = f"{run.student['n_params']:,} parameters, {run.student['macs'] / 1e6:.2f} M multiply-accumulates"
    else:
        sizes = ""
    facts = [
        ("state", state),
        ("recordings", f"{', '.join(config.data.sources)}; split {config.data.split}"),
        ("test part", run.test_speakers()),
        ("teachers", ", ".join(model.label for model in config.teachers) or "none"),
        ("student", config.student.label),
        ("size", sizes),
        ("seed", str(config.seed)),
        ("epochs and time", f"{sum(map(len, run.phases.values()))} epochs of all phases, {_minutes(run):.0f} min"),
    ]
    return [(name, text) for name, text in facts if text]


def _minutes(run: Run) -> float:
    return sum(record.get("seconds", 0.0) for log in run.phases.values() for record in log) / 60


def _same_clips(sections: Sequence[Section]) -> bool:
    """Whether all runs were measured on the same recordings, so that their figures may be compared."""
    heard = [{(row["part"], row["name"]) for row in section.run.answers} for section in sections]
    return all(heard) and all(one == heard[0] for one in heard)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
