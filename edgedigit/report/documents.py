"""Generated blocks of README.md, MODEL_CARD.md and docs/: the measured figures, written from result files.

A generated block stands between two lines, `<!-- generated:NAME -->` and `<!-- /generated -->`. NAME is one of

| name | source |
|---|---|
| `results:X` | `docs/results/X.json`: `name title command commit seeds rows folds note` and, of a model in a run folder, `trained_at`, the commits of its training; a row has `group n n_correct` and any further figures; a figure that is no share of clips has `accuracy` instead of `n_correct`; `probabilities`, where given, are `metrics.probability_figures`, and `by_source` rows of each label by source |
| `summary:X,Y` | the first row of each of these `results`, in one table |
| `grid:X` | accuracies of such `results`, and what is answered rightly where rows have it, by noise, ratio and place, from rows that `edgedigit.robustness` has named |
| `probabilities:X,Y` | the `probabilities` of each of these `results`, in one table |
| `artifacts` | `artifacts/export_results.json`: `machine commit default files left_out`; a file has `file size_bytes n_params macs` and, nested, `accuracy` (as `accuracy_row`), `parity` (`n max_difference same_decision`), `latency` (as `latency_summary`) |
| `benchmarks` | `benchmarks/results/*.json`, one per machine and pace: `machine model seeds commit rows note`; a row has `name`, the keys of `latency_summary` and, where they apply, `budget_ms budget_quantile`, `quiet_budgets_ms`, `ratio ratio_to`, `n_clips n_correct`, `n_correct_offline`, `n_missed n_extra n_before_end`, `within_ms n_within n_right_within`; `listening` and `listening_live`, where given, are what `edgedigit.bench.listening` measures |
| `budgets` | of the same files the rows with a budget or with words, machines side by side |
"""  # noqa: E501

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from edgedigit.errors import InputError
from edgedigit.metrics import ANSWERED_RIGHTLY, accuracy_row
from edgedigit.train.scoring import OVER_SPEAKERS

DOCUMENTS = (
    "README.md",
    "MODEL_CARD.md",
    "docs/architectures.md",
    "docs/benchmarks.md",
    "docs/emg.md",
    "docs/own_words.md",
    "docs/streaming.md",
    "docs/training.md",
)
OPENING = re.compile(r"^<!-- generated:(\S+) -->$", re.MULTILINE)
BLOCK = re.compile(r"^<!-- generated:(\S+) -->\n(.*?)^<!-- /generated -->$", re.MULTILINE | re.DOTALL)
NONE = "–"
LATENCIES = "p50 / p95 / p99 ms"
LISTENED = ("listening", "listening_live")
IN_REAL_TIME = "-in-real-time"  # ending of a machine's second file, as edgedigit.bench names it
IN_NOISE = re.compile(r"(?:clean|(?P<kind>\w+) (?P<snr_db>\S+) dB), (?P<place>\w+)")
PROBABILITIES = (
    *("expected calibration error %", "Brier score", "negative log-likelihood", "AURC"),
    *("accuracy % of the most confident 90 %", "80 %"),
)


def render_results(path: Path) -> str:
    """Table of one evaluation: group, n, accuracy and its 95 % Wilson interval, then the rows' further figures."""
    if not path.is_file():
        return f"Not measured yet: there is no `docs/results/{path.name}`."
    results = _read_json(path)
    try:
        rows = results["rows"]
        standard = {"group", "n", "n_correct", "accuracy", "accuracy_low", "accuracy_high"}
        further = list(dict.fromkeys(key for row in rows for key in row if key not in standard))
        table = [
            [row["group"], str(row["n"]), *_accuracy_cells(row), *(_cell(row.get(key)) for key in further)]
            for row in rows
        ]
        facts = []
        if results.get("seeds"):
            facts.append(f"{_plural('seed', results['seeds'])} {', '.join(map(str, results['seeds']))}")
        if results.get("commit"):
            facts.append(f"commit {results['commit']}")
        if results.get("trained_at"):
            facts.append(f"trained at {results['trained_at']}")
        lines = [f"**{results['title']}**", "", *_table(["group", "n", "accuracy %", "95 % interval", *further], table)]
        if results.get("by_source"):
            lines += ["", *_by_source_table(results["by_source"])]
        folds = results.get("folds")
        if folds:
            lines += ["", f"Over {len(folds['rows'])} {folds.get('of', 'folds')}: mean"]
            lines[-1] += f" {_percent(folds['accuracy_mean'])} %, standard"
            lines[-1] += f" deviation {_percent(folds['accuracy_sd'])} points."
        if "probabilities" in results:
            lines += ["", *_probabilities_table(results["probabilities"])]
        lines += ["", f"{_sentence('; '.join(facts))}Reproduce: `{results['command']}`"]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: {_missing(error)}; see the table at the top of edgedigit/report/documents.py"
        ) from None
    if results.get("note"):
        lines += ["", results["note"]]
    return "\n".join(lines)


def _by_source_table(by_source: dict[str, list[dict]]) -> list[str]:
    """Labels in rows, sources in columns: right and of how many, with the interval."""
    of = {source: {row["group"]: row for row in rows} for source, rows in by_source.items()}

    def cell(row: dict | None) -> str:
        return NONE if row is None else "{} ({}), n {}".format(*_accuracy_cells(row), row["n"])

    labels = list(dict.fromkeys(label for rows in of.values() for label in rows))
    return _table(["accuracy %", *of], [[label, *(cell(rows.get(label)) for rows in of.values())] for label in labels])


def _probabilities_table(figures: dict) -> list[str]:
    """How far the probabilities of an evaluation can be trusted."""
    return _table(PROBABILITIES, [_probabilities_cells(figures)])


def _probabilities_cells(figures: dict) -> list[str]:
    error = _percent(figures["ece"])
    if "ece_low" in figures:
        error += f" ({_percent(figures['ece_low'])}–{_percent(figures['ece_high'])}; "
        error += f"{_percent(figures['ece_by_chance'])} by chance)"
    cells = [error, *(_cell(figures[key]) for key in ("brier", "nll", "aurc"))]
    return [*cells, _percent(figures["accuracy_at_90"]), _percent(figures["accuracy_at_80"])]


def render_probabilities(paths: list[Path]) -> str:
    """How far the probabilities of several evaluations can be trusted, side by side."""
    table = []
    for path in paths:
        if not path.is_file():
            table.append([f"`{path.stem}`: not measured yet", *[NONE] * len(PROBABILITIES)])
            continue
        results = _read_json(path)
        try:
            table.append([results["title"], *_probabilities_cells(results["probabilities"])])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path}: {_missing(error)}; see the table at the top of edgedigit/report/documents.py"
            ) from None
    return "\n".join(_table(["evaluation", *PROBABILITIES], table))


def render_summary(paths: list[Path]) -> str:
    """The first row of several evaluations side by side, and all clips over speakers, where that can be told."""
    table = []
    for path in paths:
        if not path.is_file():
            table.append([f"`{path.stem}`: not measured yet", NONE, NONE, NONE, NONE])
            continue
        results = _read_json(path)
        try:
            row = results["rows"][0]
            others = next((one for one in results["rows"] if OVER_SPEAKERS in one["group"]), None)
            over_speakers = "{} ({})".format(*_accuracy_cells(others)) if others else NONE
            table.append([results["title"], str(row["n"]), *_accuracy_cells(row), over_speakers])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: {_missing(error)}; see the table at the top of edgedigit/report/documents.py"
            ) from None
    return "\n".join(_table(["evaluation", "n", "accuracy %", "95 % interval", "all clips, over speakers"], table))


def render_grid(path: Path) -> str:
    """Accuracies of an evaluation in noise: kinds of noise and places in rows, ratios in columns."""
    if not path.is_file():
        return f"Not measured yet: there is no `docs/results/{path.name}`."
    results = _read_json(path)
    try:
        found = [(match, row) for row in results["rows"] if (match := IN_NOISE.fullmatch(row["group"]))]
        of = {(match["kind"], match["place"], match["snr_db"]): _accuracy_and_answered(row) for match, row in found}
        kinds, places, ratios = (
            list(dict.fromkeys(match[key] for match, _ in found if match[key])) for key in ("kind", "place", "snr_db")
        )
        table = [
            [f"{kind}, {place}", of[None, place, None], *(of[kind, place, snr_db] for snr_db in ratios)]
            for place in places
            for kind in kinds
        ]
        title = f"**{results['title']}** (n = {found[0][1]['n']})"
        command = f"Commit {results['commit']}. Reproduce: `{results['command']}`"
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {_missing(error)}; run python -m edgedigit.robustness again") from None
    told = "accuracy, answered rightly %" if ANSWERED_RIGHTLY in found[0][1] else "accuracy %"
    header = [told, "clean", *(f"{snr_db} dB" for snr_db in ratios)]
    return "\n".join([title, "", *_table(header, table), "", command])


def _accuracy_and_answered(row: dict) -> str:
    """Both where the row has both: what is likeliest, and what the program says at its threshold."""
    cells = [_accuracy_cells(row)[0]]
    if ANSWERED_RIGHTLY in row:
        cells.append(f"{row[ANSWERED_RIGHTLY]:.1f}")
    return ", ".join(cells)


def render_artifacts(path: Path) -> str:
    """Table of every exported file: size, parameters, MACs, accuracy, parity with the trained model, latency."""
    if not path.is_file():
        return "Not exported yet: there is no `artifacts/export_results.json`."
    results = _read_json(path)
    header = ["file", "KB", "parameters", "MACs of the network", "test accuracy % (95 % interval, n)"]
    header += ["max. probability difference", "same decision %", "p50 / p95 / p99 ms"]
    try:
        table = []
        for file in results["files"]:
            accuracy, parity = file.get("accuracy"), file.get("parity") or {}
            table.append(
                [
                    f"`{file['file']}`" + (" (default)" if file["file"] == results.get("default") else ""),
                    f"{file['size_bytes'] / 1000:.1f}",
                    _count(file.get("n_params")),
                    _count(file.get("macs")),
                    "{} ({}, {})".format(*_accuracy_cells(accuracy), accuracy["n"]) if accuracy else NONE,
                    _cell(parity.get("max_difference")),
                    _percent(parity.get("same_decision")),
                    _latency_cells(file.get("latency") or {}),
                ]
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {_missing(error)}; run export_models.py again") from None
    lines = [*_table(header, table), "", _provenance(results)]
    if results.get("int8_loss_n"):
        lines += ["", f"INT8 loses {100 * results['int8_loss']:.2f} points of accuracy on unseen validation speakers"]
        lines[-1] += f" (n = {results['int8_loss_n']}); a loss above 0.3 is not exported."
    for name, reasons in results.get("left_out", {}).items():
        lines += ["", f"`{name}` is left out: {'; '.join(reasons)}."]
    return "\n".join(lines).rstrip()


def render_benchmarks(folder: Path) -> str:
    """One table of latencies against their budgets for each machine's file in `folder`."""
    paths = _benchmark_files(folder)
    if not paths:
        return "Not measured yet: there is no file in `benchmarks/results/`."
    sections = []
    for path in paths:
        results = _read_json(path)
        try:
            table, header = _benchmark_table(results["rows"])
            heard = [results[name] for name in LISTENED if results.get(name)]
            listening = [line for one in heard for line in _listening_lines(one)]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: {_missing(error)}; run the benchmarks again") from None
        lines = [_provenance(results), "", *_table(header, table), *listening]
        if results.get("note"):
            lines += ["", results["note"]]
        sections.append("\n".join(lines).lstrip())
    return "\n\n".join(sections)


def render_budgets(folder: Path) -> str:
    """What is held to a budget, or is done with words, in one table: columns for each machine's file in `folder`."""
    files = [(path, _read_json(path)) for path in _benchmark_files(folder)]
    if not files:
        return "Not measured yet: there is no file in `benchmarks/results/`."
    cells: dict[str, dict[str, str]] = {}  # by row and column
    machines: dict[str, str] = {}  # names of columns by what files of one machine are called
    lines = []
    for path, results in files:
        try:
            cpu = _column_name(path, results.get("machine") or {}, machines)
            for row in results["rows"]:
                if "budget_ms" not in row and "n_clips" not in row:
                    continue
                line = cells.setdefault(row["name"], {})
                if f"{cpu}: right" in line:
                    raise InputError(f"{path}: {row['name']!r} is in another file of this machine too; move one away")
                if "budget_ms" in row:
                    line.setdefault("budget ms", _budget_cell(row))
                line[f"{cpu}: {LATENCIES}"] = _latency_cells(row)
                line[f"{cpu}: right"] = _right_cell(row)
                if "n_right_within" in row:
                    line[f"{cpu}: right"] += f", in time {100 * row['n_right_within'] / row['n_clips']:.1f} %"
            told = [_provenance(results)]
            for heard in filter(None, (results.get(name) for name in LISTENED)):
                told.append(f"{_listened(heard)} {_cost(heard)}")
                told.append(f"Taken for digits an hour (95 % interval): {_false_accepts(heard)}.")
            if any(told):
                lines.append("- " + " ".join(filter(None, told)))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: {_missing(error)}; run the benchmarks again") from None
    columns = ["budget ms", *(f"{cpu}: {what}" for cpu in machines.values() for what in (LATENCIES, "right"))]
    table = [[name, *(line.get(column, NONE) for column in columns)] for name, line in cells.items()]
    return "\n".join([*_table(["measured", *columns], table), "", *lines])


def _benchmark_files(folder: Path) -> list[Path]:
    """By machine; what it heard in real time comes second."""
    return sorted(folder.glob("*.json"), key=lambda path: (_machine_of(path), len(path.stem)))


def _machine_of(path: Path) -> str:
    """What files of one machine are called."""
    return path.stem.removesuffix(IN_REAL_TIME)


def _column_name(path: Path, machine: dict, machines: dict[str, str]) -> str:
    """What a machine's columns are called, which its files share; another of that name is called as its file."""
    stem = _machine_of(path)
    if stem not in machines:
        cpu = machine.get("cpu") or stem
        cpu += f" ({machine['instructions']})" if machine.get("instructions") else ""
        machines[stem] = f"{cpu}, {stem}" if cpu in machines.values() else cpu
    return machines[stem]


def _false_accepts(listening: dict) -> str:
    return ", ".join(
        f"{row['far_per_hour']:.0f} ({row['far_per_hour_low']:.0f}–{row['far_per_hour_high']:.0f}) of {row['name']}"
        for row in listening["sounds"]
    )


def _budget_cell(row: dict) -> str:
    said = _cell(row.get("budget_ms")) + (f" ({row['budget_quantile']})" if "budget_quantile" in row else "")
    quiet = row.get("quiet_budgets_ms") or {}
    return said + (f", {' / '.join(_cell(limit_ms) for limit_ms in quiet.values())}" if quiet else "")


def _right_cell(row: dict) -> str:
    return f"{row['n_correct']} of {row['n_clips']}" if "n_correct" in row else NONE


def _benchmark_table(rows: list[dict]) -> tuple[list[list[str]], list[str]]:
    """Cells and header; a column that no row has is left out."""
    header = ["measured", "n", "p50 / p95 / p99 / max ms", "budget ms"]
    table = []
    for row in rows:
        table.append([row["name"], _count(row.get("n")), _latency_cells(row, "max"), _budget_cell(row)])
    further = {
        "time against ours": lambda row: f"{row['ratio']:.1f} × {row['ratio_to']}" if row.get("ratio") else NONE,
        "right": _right_cell,
        "within the budget, of all": lambda row: _within_cell(row) if "n_within" in row else NONE,
        "one by one": lambda row: _offline_cell(row) if "n_correct_offline" in row else NONE,
        "missed / extra": lambda row: f"{row['n_missed']} / {row['n_extra']}" if "n_extra" in row else NONE,
        "before the end": lambda row: str(row["n_before_end"]) if "n_before_end" in row else NONE,
    }
    for name, cell in further.items():
        column = [cell(row) for row in rows]
        if set(column) != {NONE}:
            header.append(name)
            table = [[*cells, value] for cells, value in zip(table, column, strict=True)]
    return table, header


def _within_cell(row: dict) -> str:
    """Shares of all words: answered or rejected in time, and right in time."""
    share, right = (100 * row[key] / row["n_clips"] for key in ("n_within", "n_right_within"))
    return f"{share:.1f} % (right {right:.1f} %)"


def _offline_cell(row: dict) -> str:
    """Right of the same clips one by one, and what streaming loses of them."""
    points = 100 * (row["n_correct"] - row["n_correct_offline"]) / row["n_clips"]
    return f"{row['n_correct_offline']} ({points:+.2f} points)"


def _cost(listening: dict) -> str:
    """What listening for long costs, in a sentence."""
    memory = ""
    if listening["peak_mb"] is not None:
        memory = f", {listening['peak_mb']:.1f} MB resident at most, {listening['growth_mb']:+.1f} MB in "
        memory += f"{listening['growth_over_minutes']:.0f} minutes"
    cost = f"{listening['sample_rate']} Hz in blocks of {listening['block_ms']:g} ms: "
    return f"{cost}{100 * listening['cpu_share']:.2f} % of one core{memory}."


def _listened(listening: dict) -> str:
    live = " through a virtual microphone, in real time" if listening.get("microphone") else ""
    return f"Listening{live} for {listening['minutes']:.4g} minutes,"


def _listening_lines(listening: dict) -> list[str]:
    """What listening for long costs, and a table of what was heard where nothing was said."""
    said = f"{_listened(listening)} {_cost(listening)}"
    table = [
        [
            row["name"],
            f"{60 * row['hours']:.1f}",
            str(row["n_false_accepts"]),
            f"{row['far_per_hour']:.1f} ({row['far_per_hour_low']:.1f}–{row['far_per_hour_high']:.1f})",
        ]
        for row in listening["sounds"]
    ]
    header = ["listened to", "minutes", "false accepts", "an hour (95 % interval)"]
    return ["", said, "", *_table(header, table)]


def render_block(name: str, root: Path) -> str:
    """Content of the generated block `name`, from the result files under `root`.

    Raises:
        InputError: if the name is unknown or a result file cannot be used.
    """
    kind, _, argument = name.partition(":")
    names = argument.split(",")
    if kind in ("results", "summary", "probabilities") and all(re.fullmatch(r"[\w-]+", part) for part in names):
        paths = [root / "docs" / "results" / f"{part}.json" for part in names]
        if kind == "summary":
            return render_summary(paths)
        if kind == "probabilities":
            return render_probabilities(paths)
        if len(paths) == 1:
            return render_results(paths[0])
    if kind == "grid" and re.fullmatch(r"[\w-]+", argument):
        return render_grid(root / "docs" / "results" / f"{argument}.json")
    if name == "artifacts":
        return render_artifacts(root / "artifacts" / "export_results.json")
    if name in ("benchmarks", "budgets"):
        render = render_benchmarks if name == "benchmarks" else render_budgets
        return render(root / "benchmarks" / "results")
    raise InputError(
        f"generated block {name!r} is unknown; expected results:NAME, summary:NAME,NAME, grid:NAME, "
        "probabilities:NAME,NAME, artifacts, benchmarks or budgets"
    )


def update_document(text: str, root: Path) -> tuple[str, list[str]]:
    """Fill every generated block of a document.

    Returns:
        The new text, and the names of the blocks that were stale.

    Raises:
        InputError: if a block is not closed, or as `render_block`.
    """
    blocks = BLOCK.findall(text)
    unclosed = [name for name, body in blocks if OPENING.search(body)]
    if unclosed or len(blocks) != len(OPENING.findall(text)):
        name = unclosed[0] if unclosed else OPENING.findall(text)[-1]
        raise InputError(f"generated block {name!r} is not closed; end it with a line <!-- /generated -->")
    stale = []

    def fill(match: re.Match) -> str:
        name, old = match.groups()
        new = render_block(name, root) + "\n"
        if new != old:
            stale.append(name)
        return f"<!-- generated:{name} -->\n{new}<!-- /generated -->"

    return BLOCK.sub(fill, text), stale


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); run the command that writes it again") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a JSON {type(values).__name__}; expected an object")
    return values


def _table(header: Sequence[str], rows: list[list[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), "|" + "---|" * len(header), *map(line, rows)]


def _accuracy_cells(row: dict) -> tuple[str, str]:
    if "n_correct" in row:
        row = accuracy_row(row["group"], row["n_correct"], row["n"])
        accuracy, low, high = row["accuracy"], row["accuracy_low"], row["accuracy_high"]
    else:  # a mean over labels or seeds: no count, hence no Wilson interval of its own
        accuracy, low, high = row["accuracy"], row.get("accuracy_low"), row.get("accuracy_high")
    return _percent(accuracy), NONE if low is None or high is None else f"{_percent(low)}–{_percent(high)}"


def _latency_cells(row: dict, *further: str) -> str:
    values = [row.get(f"latency_ms_{quantile}") for quantile in ("p50", "p95", "p99", *further)]
    return NONE if set(values) == {None} else " / ".join(_cell(value) for value in values)


def _provenance(results: dict) -> str:
    """One sentence: the machine's facts, what was measured, the commit."""
    machine = dict(results.get("machine") or {})
    facts = [str(machine.pop("cpu"))] if machine.get("cpu") else []
    if machine.get("n_threads"):
        n_threads = machine.pop("n_threads")
        facts.append(f"{n_threads} thread" + ("s" if n_threads != 1 else ""))
    facts += [f"{name} {value}" for name, value in machine.items()]
    if model := results.get("model"):
        facts.append(f"{model['file']} with SHA-256 {model['sha256'][:12]}…")
    if seeds := results.get("seeds"):
        facts.append(f"{_plural('seed', seeds)} {', '.join(map(str, seeds))}")
    if results.get("commit"):
        facts.append(f"commit {results['commit']}")
    if weights := results.get("weights"):
        facts.append(f"weights of commit {weights['commit']}")
    return _sentence(", ".join(facts)).rstrip()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}. " if text else ""


def _plural(noun: str, values: list) -> str:
    return noun if len(values) == 1 else f"{noun}s"


def _percent(fraction: float | None) -> str:
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def _cell(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _missing(error: Exception) -> str:
    return f"has no key {error}" if isinstance(error, KeyError) else f"is not laid out as expected ({error})"
