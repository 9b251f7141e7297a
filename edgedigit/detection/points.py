"""What a model does at a threshold: in streams of speech and noise, on digits and on other words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgedigit.data.recording import Recording
from edgedigit.detection import counting
from edgedigit.detection.counting import Accept
from edgedigit.detection.listening import Stream, listen
from edgedigit.metrics import accuracy_row
from edgedigit.runtime import Recognizer
from edgedigit.train.scoring import predict_onnx

N_SHOWN = 20  # false accepts that the result lists, the surest first
N_CURVE = 200  # points of the curve, at most


class Bench:
    """The model on every stream, at any threshold.

    Each threshold has the streams played anew: what is rejected ends elsewhere, and what follows it may be taken for
    running speech.
    """

    def __init__(self, model: str | None, streams: dict[str, Stream]):
        self.model = model
        self.streams = streams
        self._played: dict[tuple[str, float], list[Accept]] = {}

    def accepts(self, name: str, threshold: float) -> list[Accept]:
        """Digits answered in a stream at a threshold."""
        key = (name, threshold)
        if key not in self._played:
            self._played[key] = listen(Recognizer(self.model, reject_below=threshold), self.streams[name], name)
        return self._played[key]

    def threshold_at(self, name: str, far_per_hour: float) -> float | None:
        """The threshold from which a stream without digits keeps to a rate of false accepts; None if none does.

        The stream is played at each threshold that what was heard at the one before calls for, until it keeps to the
        rate.
        """
        hours, threshold = self.streams[name].hours, 0.0
        while threshold is not None:
            accepts = self.accepts(name, threshold)
            needed = counting.threshold_at(accepts, hours, far_per_hour)
            if needed is not None and needed <= threshold:
                return threshold
            threshold = needed
        return None


def digit_scores(recognizer: Recognizer, clips: Sequence[Recording]) -> np.ndarray:
    """Probability (n,) of the likeliest digit in each clip, 0 where something that is no digit is likelier."""
    windows = np.stack([recognizer.window(clip.waveform, clip.sample_rate) for clip in clips])
    probabilities = predict_onnx(recognizer.path, windows)
    is_digit = np.array([label != recognizer.info.reject_label for label in recognizer.info.labels])
    best = probabilities.argmax(axis=1)
    return np.where(is_digit[best], probabilities[np.arange(len(best)), best], 0.0)


def operating_point(
    name: str,
    threshold: float | None,
    bench: Bench,
    groups: dict[str, list[Recording]],
    scores: dict[str, np.ndarray],
) -> dict:
    """What a threshold gives: false accepts per hour of speech and noise, and what becomes of digits and words."""
    point: dict = {"name": name, "threshold": threshold}
    if threshold is None:  # float32 holds no probability above those of the false accepts
        return point
    for kind in ("speech", "noise"):
        if kind in bench.streams:
            accepts = bench.accepts(kind, threshold)
            point[kind] = counting.rate_row(counting.n_accepted(accepts, threshold), bench.streams[kind].hours)
    point["digits"] = []
    for group in groups:
        labels = [clip.label for clip in bench.streams[group].recordings]
        right, wrong, silent = counting.answered(labels, bench.accepts(group, threshold), threshold)
        row = accuracy_row(group, right, len(labels))
        point["digits"].append({**row, "n_wrong": wrong, "n_unanswered": silent})
    if "words" in scores:
        rejected = (scores["words"] < threshold) | (scores["words"] == 0)
        point["words"] = accuracy_row("other words", int(rejected.sum()), len(rejected))
    return point


def point_rows(point: dict) -> list[dict]:
    """An operating point as rows of a generated table: digits answered rightly, other words with nothing."""
    if point["threshold"] is None:
        return []
    shared = {"threshold": f"{point['threshold']:.6g}"}
    for kind in ("speech", "noise"):
        if kind in point:
            shared[f"FA/h of {kind}"] = "{far_per_hour:.1f} ({far_per_hour_low:.1f}–{far_per_hour_high:.1f})".format(
                **point[kind]
            )
    rows = [
        {
            **{key: value for key, value in row.items() if not key.startswith("n_") or key == "n_correct"},
            "group": f"{point['name']}: {row['group']}",
            **shared,
            "unanswered": row["n_unanswered"],
            "wrong digit": row["n_wrong"],
        }
        for row in point["digits"]
    ]
    if "words" in point:
        rows.append({**point["words"], "group": f"{point['name']}: other words, not answered", **shared})
    return rows


def trade_off(bench: Bench, groups: dict[str, list[Recording]]) -> list[dict]:
    """Misses of each group against false accepts per hour of speech, at the lowest threshold for each number of these.

    It counts what the streams give with nothing rejected by its probability, an approximation, see `Bench`; operating
    points are exact.
    """
    accepts, hours = bench.accepts("speech", 0.0), bench.streams["speech"].hours
    levels = sorted({accept.probability for accept in accepts})
    if len(levels) > N_CURVE:  # evenly in the logarithm of the rate: few false accepts are what matters
        levels = [levels[-n] for n in np.unique(np.geomspace(len(levels), 1, N_CURVE).round().astype(int))[::-1]]
    curve = []
    for threshold in [0.0, *(float(np.nextafter(level, 2.0)) for level in levels)]:
        row = {"threshold": threshold, "far_per_hour": counting.n_accepted(accepts, threshold) / hours}
        for group in groups:
            labels = [clip.label for clip in bench.streams[group].recordings]
            right, _, _ = counting.answered(labels, bench.accepts(group, 0.0), threshold)
            row[group] = 1 - right / len(labels)
        curve.append(row)
    return curve


def surest(bench: Bench) -> list[dict]:
    """The surest digits in all streams without digits, for someone to listen to; what a threshold of 0 answers."""
    found = []
    for kind in ("choosing", "speech", "noise"):
        stream = bench.streams.get(kind)
        for accept in bench.accepts(kind, 0.0) if stream else ():
            row = {"stream": kind, "recording": None, "at_s": round(accept.start_s, 2)}  # in a pause, of the stream
            if accept.clip is not None:
                at_s = accept.start_s - stream.sound.words[accept.clip].start_s
                row |= {"recording": stream.recordings[accept.clip].name, "at_s": round(at_s, 2)}
            found.append({**row, "label": accept.label, "probability": accept.probability})
    return sorted(found, key=lambda row: -row["probability"])[:N_SHOWN]
