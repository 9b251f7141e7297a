"""Find recordings whose labels are in doubt: nets that never heard the speaker agree on another label.

    python -m edgedigit.crossval --folds 5 --stage student --config RECIPE --model student_dscnn --run-dir runs/small
    python -m edgedigit.crossval --folds 5 --stage student --config RECIPE --model resnet_se --run-dir runs/large
    python -m edgedigit.label_issues runs/small runs/large --sources speechcmd an4 --write configs/label_issues.json

RECIPE is one that trains on the sources, such as configs/distillation_folds.yaml.

A recipe names the file as `data.label_issues`: what it lists is drawn `data.label_issue_share` as often as it would be,
and `edgedigit.crossval` shows the accuracy without it beside that on all clips. Only corpora that nobody has listened
through belong among the sources: elsewhere agreement on another label means an accent that the nets do not know yet.

A recording that several folds tested, as speakers of other words alone are, has as many judges: all have to agree.

Source: predictions out of sample as judges of labels follow Northcutt, Jiang and Chuang 2021, "Confident learning";
agreement of different nets stands for their thresholds.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.errors import InputError
from edgedigit.manifest import source_commit, write_json
from edgedigit.train.pipeline import STUDENT_ANSWERS_FILE
from edgedigit.train.scoring import read_answers

RULE = "every net, none of which had heard the speaker, gives the same other label"


def parse_args(argv: Sequence[str] | None):
    parser = ArgumentParser(prog="python -m edgedigit.label_issues", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="of cross-validations, two or more")
    parser.add_argument("--sources", nargs="+", required=True, help="corpora whose labels nobody has checked by ear")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="JSON file for data.label_issues")
    args = parser.parse_args(argv)
    if len(args.runs) < 2:
        parser.error("one net alone judges nothing; name the folders of two or more cross-validations")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    judges = [answers_of(run, args.sources) for run in args.runs]
    issues = find(judges)
    found = Counter(row["source"] for row in issues.values())
    checked = Counter(rows[0]["source"] for rows in judges[0].values())
    for source in sorted(checked):
        print(f"  {source}: {found[source]} of {checked[source]} labels in doubt")
    result = {
        "rule": RULE,
        "command": shlex.join(["python", "-m", "edgedigit.label_issues", *(argv or sys.argv[1:])]),
        "commit": source_commit(),
        "n": len(judges[0]),
        "issues": {name: row["answer"] for name, row in sorted(issues.items())},
    }
    args.write.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.write, result)
    print_json({key: value for key, value in result.items() if key != "issues"} | {"n_issues": len(issues)})
    return 0


def answers_of(run_dir: Path, sources: Sequence[str]) -> dict[str, list[dict]]:
    """What the nets of a cross-validation answered to recordings of speakers they never heard, by name.

    A recording has an answer of every fold that it tested.

    Raises:
        InputError: if there are no folds, or none of these corpora.
    """
    files = sorted(run_dir.glob(f"*/{STUDENT_ANSWERS_FILE}"))
    if not files:
        raise InputError(f"{run_dir} holds no folds; name the --run-dir of python -m edgedigit.crossval")
    rows = [row for file in files for row in read_answers(file)]
    answers: dict[str, list[dict]] = {}
    for row in rows:
        if row["stage"] == "student" and row["part"].startswith("test") and row["source"] in sources:
            answers.setdefault(row["name"], []).append(row)
    if missing := set(sources) - {told[0]["source"] for told in answers.values()}:
        there = ", ".join(sorted({row["source"] for row in rows}))
        raise InputError(f"{run_dir} tested nothing of {', '.join(sorted(missing))}; its sources are {there}")
    return answers


def find(judges: Sequence[Mapping[str, Sequence[dict]]]) -> dict[str, dict]:
    """An answer to each recording where all nets of all judges give the same one, and not the label.

    Raises:
        InputError: if they did not judge the same recordings.
    """
    first, *others = judges
    if any(answers.keys() != first.keys() for answers in others):
        raise InputError("the cross-validations tested different recordings; run them with the same data and --folds")
    heard = {name: {row["answer"] for answers in judges for row in answers[name]} for name in first}
    return {
        name: rows[0] for name, rows in first.items() if len(heard[name]) == 1 and rows[0]["label"] not in heard[name]
    }


if __name__ == "__main__":
    sys.exit(run_main(main))
