"""Accuracy of an exported model on any recordings: the figures of README.md, or of your own clips.

python -m edgedigit.evaluate --sources fsdd --part test
python -m edgedigit.evaluate --model artifacts/model.onnx --sources folder:my_recordings
python -m edgedigit.evaluate --sources folder:my_recordings --results microphone.json --title "My microphone"
python -m edgedigit.evaluate --held-out validation
python -m edgedigit.evaluate --sources fsdd --part test --plot probabilities.png

Figures on recordings that trained the model say nothing about others; it says how many of them did.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.config import HELD_OUT
from edgedigit.data.dataset import as_arrays
from edgedigit.data.recording import Recording
from edgedigit.figures import probabilities_figure, save_png
from edgedigit.labels import NON_DIGIT, kind_of
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import ANSWERED_RIGHTLY, ANSWERED_WRONGLY, accuracy_row, answered_shares, probability_figures
from edgedigit.provenance import training_facts
from edgedigit.runtime import Recognizer
from edgedigit.train.heard import novelty_note, recordings_to_test
from edgedigit.train.pipeline import origin
from edgedigit.train.scoring import accuracy_rows, accuracy_table, over_speakers, predict_onnx

MAX_WORDS_TOLD = 12


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m edgedigit.evaluate", description=__doc__)
    parser.add_argument("--model", help="ONNX file (the shipped default)")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--sources", nargs="+", help="fsdd, audiomnist, speech_commands, folder:PATH, …")
    whose.add_argument("--held-out", choices=HELD_OUT, help="these words of the model's own training")
    parser.add_argument("--part", help="only recordings that their corpus marks as train, validation or test")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--results", type=file_ending(".json"), help="JSON file to write the table to")
    parser.add_argument(
        "--plot",
        type=file_ending(".png"),
        help="PNG file to draw the reliability diagram and the risk-coverage curve to",
    )
    parser.add_argument("--title", default="", help="of the table")
    parser.add_argument("--how", default="", help="commands that made the model, to be put before this one's")
    args = parser.parse_args(argv)
    if args.held_out and args.part:
        parser.error("--part is of the recordings that --sources names; leave it out")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    recognizer = Recognizer(args.model)
    labels = recognizer.info.labels
    recordings = recordings_to_test(args, recognizer, labels)
    facts = training_facts(recognizer.path)
    waveforms, targets = as_arrays(recordings, labels, recognizer.info.n_samples)
    probabilities = predict_onnx(recognizer.path, waveforms)
    predictions = probabilities.argmax(axis=1)
    right = predictions == targets
    counted = np.array([r.label != recognizer.info.reject_label for r in recordings])  # as accuracy is of digits
    counted |= not counted.any()
    rows = accuracy_rows("all clips" + origin(recordings), recordings, predictions, labels)
    spoken = [r for r, one in zip(recordings, counted, strict=True) if one]
    rows[1:1] = over_speakers([r.speaker for r in spoken], {r.source for r in spoken}, right[counted])
    rows += [
        accuracy_row(
            f"{kind_of([labels[i]])} {labels[i]}",
            int(right[targets == i].sum()),
            int((targets == i).sum()),
        )
        for i in np.unique(targets)
        if labels[i] != recognizer.info.reject_label  # has its row already
    ]
    print(accuracy_table(rows))
    answered = answered_shares(right[counted], recognizer.rejects(probabilities[counted]))
    note = novelty_note(recordings, recognizer.path, args.data_dir)
    if args.held_out == "validation":
        note += " The model was selected on them."
    note += (
        f" Accuracies are of the likeliest label; at the model's threshold, {recognizer.reject_below:.3g}, "
        f"{answered[ANSWERED_RIGHTLY]:.2f} % are answered rightly and {answered[ANSWERED_WRONGLY]:.2f} % wrongly, "
        "the rest not at all."
    )
    note += other_words(recordings)
    print(f"  {note}")
    probabilities, targets = probabilities[counted], targets[counted]
    figures = probability_figures(probabilities, targets)
    print(
        "  expected calibration error {ece:.2%} [{ece_low:.2%}, {ece_high:.2%}], by chance {ece_by_chance:.2%}, Brier "
        "score {brier:.4f}, negative log-likelihood {nll:.4f}\n  AURC {aurc:.5f}; accuracy of the most confident 90 % "
        "{accuracy_at_90:.2%}, 80 % {accuracy_at_80:.2%}".format(**figures)
    )
    options = ["--model", args.model] if args.model else []
    options += ["--sources", *args.sources] if args.sources else ["--held-out", args.held_out]
    options += ["--part", args.part] if args.part else []
    result = {
        "name": Path(args.results).stem if args.results else "",
        "title": args.title,
        "command": " && ".join(filter(None, [args.how, shlex.join(["python", "-m", "edgedigit.evaluate", *options])])),
        "commit": source_commit(),
        **facts,
        "rows": rows,
        "probabilities": figures,
        "note": note,
    }
    print_json(result)  # before files, which a full disk may refuse
    if args.plot:
        save_png(probabilities_figure(probabilities, targets), args.plot)
    if args.results:
        write_json(args.results, result)
    return 0


def other_words(recordings: Sequence[Recording]) -> str:
    """A sentence on words that count as no digit, so that a label misspelt in a folder's name is seen; or none."""
    words = Counter(recording.word for recording in recordings if recording.word)
    if not words:
        return ""
    told = ", ".join(f"{word} ({count})" for word, count in sorted(words.items())[:MAX_WORDS_TOLD])
    more = f" and {len(words) - MAX_WORDS_TOLD} more words" if len(words) > MAX_WORDS_TOLD else ""
    return f" Counted as {NON_DIGIT}: {told}{more}."


if __name__ == "__main__":
    sys.exit(run_main(main))
