"""What enrolment reaches: words of many speakers, words of one, and digits of one.

EDGEDIGIT_DATA=... python docs/measure_enrollment.py
EDGEDIGIT_DATA=... python docs/measure_enrollment.py --results docs/results/enrollment.json

Reads `nondigits`, `digits_ar` and `digits` there.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgedigit.cli import ArgumentParser, file_ending, print_json, run_main
from edgedigit.data import load_recordings
from edgedigit.enroll.clips import windows
from edgedigit.enroll.head import acceptance
from edgedigit.enroll.pipeline import enroll, write_enrolled
from edgedigit.labels import DIGITS, NON_DIGIT
from edgedigit.manifest import source_commit, write_json
from edgedigit.metrics import accuracy_row
from edgedigit.runtime import Recognizer
from edgedigit.runtime._paths import artifacts_dir
from edgedigit.train.heard import heard_by

NOTE = (
    "Accuracy: words that are answered rightly at the threshold that 5 % of the other words pass, which is taken from "
    "these very words, as no user can. Right, rejected, wrong and others pass: at the threshold that the program finds "
    "and writes into the model, with 95 % intervals; this is what a user gets. Where several draws of enrolled clips "
    "are tested, n counts a clip once a draw, so that intervals are somewhat too narrow. One by one: the likeliest of "
    "the words alone, nothing rejected."
)
RIGHT, OTHERS_PASS = "right at the program's threshold %", "others pass at it %"
WORDS = ("cat", "down", "happy", "left", "right")
N_DRAWS = 3  # of the clips that are enrolled
OTHERS_ENROLLED, N_OTHERS_ENROLLED = ("go", "up"), 60  # where other words by people are enrolled as well
FALSE_ACCEPTS = 0.05
N_PER_WORD = 10
WAKE_WORDS = "picovoice_ww"  # whose recordings train nothing, and do not say who speaks
N_OF_SPEAKER = 7  # of the ten clips of each Arabic word and speaker


def answers(recognizer: Recognizer, clips) -> tuple[np.ndarray, np.ndarray]:
    """Labels and how sure they are, 0 for other words."""
    labels = recognizer.info.labels
    found = recognizer.probabilities(windows([clip.waveform for clip in clips], recognizer.info.n_samples))
    indices, sureness = acceptance(found, labels.index(NON_DIGIT) if NON_DIGIT in labels else None)
    return np.array(labels)[indices], sureness


def measure(model: Path, enrolled_clips, test_clips, others) -> Counter:
    """Counts of one enrolment.

    Returns:
        Of `n` clips: `closed`, right among the words alone; `right`, `rejected`, `wrong` at the model's own threshold;
        `detected`, right at the threshold that 5 % of the other words pass. Of `n_others` other words: `accepted`.
    """
    enrolled = enroll(enrolled_clips, model)
    with tempfile.TemporaryDirectory() as folder:
        recognizer = Recognizer(write_enrolled(enrolled, enrolled_clips, model, Path(folder, model.name), {}))
        reject_below = recognizer.reject_below
        labels, sureness = answers(recognizer, test_clips)
        words = [label for label in recognizer.info.labels if label != NON_DIGIT]
        found = recognizer.probabilities(windows([clip.waveform for clip in test_clips], recognizer.info.n_samples))
        _, of_others = answers(recognizer, others)
    truth = np.array([clip.label for clip in test_clips])
    closed = np.array(words)[found[:, : len(words)].argmax(axis=1)] == truth
    accepted, right = sureness >= max(reject_below, 1e-9), labels == truth
    limit = np.sort(of_others)[::-1][int(FALSE_ACCEPTS * len(of_others))]
    return Counter(
        n=len(truth),
        closed=int(closed.sum()),
        right=int((accepted & right).sum()),
        rejected=int((~accepted).sum()),
        wrong=int((accepted & ~right).sum()),
        detected=int((right & (sureness > limit)).sum()),
        n_others=len(of_others),
        accepted=int((of_others >= max(reject_below, 1e-9)).sum()),
    )


def report(title: str, counts: Counter) -> dict:
    """Print rates; the row of the result file, of what was detected or, where nothing can be rejected, right."""
    print(title)
    # Sums of counters hold no zeros, so that what a row is of is told by what it detected.
    names = ("closed", "right", "rejected", "wrong", "detected") if "detected" in counts else ("closed",)
    rows = {name: accuracy_row(name, counts[name], counts["n"]) for name in names}
    if counts["n_others"]:
        rows["others pass"] = accuracy_row("others pass", counts["accepted"], counts["n_others"])
    for row in rows.values():
        bounds = f"{100 * row['accuracy_low']:.1f}–{100 * row['accuracy_high']:.1f}"
        print(f"  {row['group']:<22}{100 * row['accuracy']:6.1f} % ({bounds}), n = {row['n']}")
    if "detected" not in rows:
        return {**rows["closed"], "group": title}
    shown = {"one by one %": "closed", RIGHT: "right", "rejected %": "rejected", "wrong %": "wrong"}
    shown |= {OTHERS_PASS: "others pass"} if counts["n_others"] else {}
    cells = {column: f"{100 * rows[name]['accuracy']:.1f}" for column, name in shown.items()}
    for column in {RIGHT, OTHERS_PASS} & set(cells):
        row = rows[shown[column]]
        cells[column] += f" ({100 * row['accuracy_low']:.1f}–{100 * row['accuracy_high']:.1f})"
    return {**rows["detected"], "group": title, **cells, "n of others": counts["n_others"]}


def of_many_speakers(model: Path, with_others: bool = False, left_out: Collection[str] = ()) -> Counter:
    """Ten clips of each word by ten speakers, tested on all others; other words by anybody else.

    Args:
        with_others: clips of two more words, by as many people, are enrolled as `_unknown_`.
        left_out: speakers who are neither enrolled nor tested.
    """
    clips = load_recordings(["folder:nondigits"], labels=None, progress=True)
    clips = [clip for clip in clips if clip.source != "librispeech_tc100" and clip.speaker not in left_out]
    others = [clip for clip in clips if clip.label not in (*WORDS, *OTHERS_ENROLLED)]
    unknown = [replace(clip, label=NON_DIGIT) for clip in clips if clip.label in OTHERS_ENROLLED]
    total: Counter = Counter()
    for draw in range(N_DRAWS):
        rng = np.random.default_rng(draw)
        chosen, speakers = [], set()
        for word in WORDS:
            own: dict[str, object] = {}
            for i in rng.permutation([i for i, clip in enumerate(clips) if clip.label == word]):
                if len(own) < N_PER_WORD and clips[i].speaker not in speakers:
                    own.setdefault(clips[i].speaker, clips[i])
            chosen += own.values()
            speakers |= set(own)
        if with_others:
            drawn = [unknown[i] for i in rng.permutation(len(unknown))[:N_OTHERS_ENROLLED]]
            chosen += drawn
            speakers |= {clip.speaker for clip in drawn}
        test = [clip for clip in clips if clip.label in WORDS and clip.speaker not in speakers]
        total += measure(model, chosen, test, [clip for clip in others if clip.speaker not in speakers])
    return total


def of_wake_words(model: Path, left_out: Collection[str]) -> Counter:
    """Ten clips of each of three words that trained nothing, tested on the rest; other words by people.

    Args:
        left_out: speakers of other words who are not tested.
    """
    clips = load_recordings(["folder:nondigits"], labels=None, progress=True)
    others = [clip for clip in clips if clip.source == "speechcmd" and clip.speaker not in left_out]
    by_word = defaultdict(list)
    for clip in clips:
        if clip.source == WAKE_WORDS:
            by_word[clip.label].append(clip)
    total: Counter = Counter()
    for draw in range(N_DRAWS):
        rng = np.random.default_rng(draw)
        mixed = [[of_word[i] for i in rng.permutation(len(of_word))] for of_word in by_word.values()]
        chosen = [clip for of_word in mixed for clip in of_word[:N_PER_WORD]]
        total += measure(model, chosen, [clip for of_word in mixed for clip in of_word[N_PER_WORD:]], others)
    return total


def of_one_speaker(model: Path, with_others: bool) -> Counter:
    """Five Arabic words of one person, who says three others as well, in the same room.

    Args:
        with_others: two more words of the same person are enrolled as `_unknown_`.
    """
    clips = load_recordings(["folder:digits_ar"], progress=True)
    by_speaker = defaultdict(list)
    for clip in clips:
        by_speaker[clip.speaker].append(replace(clip, label=f"word {clip.label}"))  # no digit of the model's
    total: Counter = Counter()
    for speaker in sorted(by_speaker):
        seen: Counter = Counter()
        chosen, test, others = [], [], []
        for clip in by_speaker[speaker]:
            seen[clip.label] += 1
            if clip.label > "word 6":
                others.append(clip)
            elif clip.label > "word 4":
                chosen += [replace(clip, label=NON_DIGIT)] * (with_others and seen[clip.label] <= N_OF_SPEAKER)
            else:
                (chosen if seen[clip.label] <= N_OF_SPEAKER else test).append(clip)
        total += measure(model, chosen, test, others)
    return total


def of_ones_digits(model: Path) -> list[tuple[str, Counter]]:
    """Ten clips of each digit by one of two Indian speakers, tested on the rest, beside the shipped model."""
    clips = [clip for clip in load_recordings(["folder:digits"], progress=True) if clip.source == "iitg_licensed"]
    rows = []
    for speaker in sorted({clip.speaker for clip in clips}):
        seen: Counter = Counter()
        chosen, test = [], []
        for clip in (clip for clip in clips if clip.speaker == speaker):
            seen[clip.label] += 1
            (chosen if seen[clip.label] <= N_PER_WORD else test).append(clip)
        labels, _ = answers(Recognizer(model), test)
        right = int((labels == np.array([clip.label for clip in test])).sum())
        rows.append((f"{speaker}, the shipped model, nothing rejected", Counter(n=len(test), closed=right)))
        others = [clip for clip in load_recordings(["folder:nondigits"], labels=None) if clip.label not in DIGITS]
        others = [clip for clip in others if clip.source == "speechcmd"]
        rows.append((f"{speaker}, ten clips of each digit enrolled", measure(model, chosen, test, others)))
    return rows


def main(argv=None) -> int:
    parser = ArgumentParser(prog="docs/measure_enrollment.py", description=__doc__)
    parser.add_argument("--results", type=file_ending(".json"), help="JSON file to write the table to")
    parser.add_argument("--model", default="model.onnx", help="shipped file to enrol on; model.onnx")
    args = parser.parse_args(argv)
    model = artifacts_dir() / Path(args.model).name
    trained_on = heard_by(model, None).speakers
    rows = [
        report("five words, ten clips of each by ten speakers, tested on other speakers", of_many_speakers(model)),
        report("the same, of speakers that the model was not trained on", of_many_speakers(model, left_out=trained_on)),
        report("three words that it was not trained on, ten clips of each", of_wake_words(model, trained_on)),
        report("five words, and 60 clips of two other words by people as _unknown_", of_many_speakers(model, True)),
        report("five Arabic words, seven clips of each by one speaker, tested on three", of_one_speaker(model, False)),
        report("the same, and seven clips of each of two other words as _unknown_", of_one_speaker(model, True)),
        *(report(title, counts) for title, counts in of_ones_digits(model)),
    ]
    result = {
        "name": Path(args.results).stem if args.results else "",
        "title": f"Words enrolled on top of the shipped {model.name}, recordings of people",
        "command": f"python docs/measure_enrollment.py --model {model.name}",
        "commit": source_commit(),
        "seeds": list(range(N_DRAWS)),
        "rows": rows,
        "note": NOTE,
    }
    if args.results:
        write_json(args.results, result)
    print_json(result)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
