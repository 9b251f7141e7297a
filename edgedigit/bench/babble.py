"""Words over the babble of other speakers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from edgedigit.bench.noise_bed import FADE_S, joined
from edgedigit.config import RobustnessConfig
from edgedigit.data.mixtures import babble
from edgedigit.errors import DataError
from edgedigit.word_stream import Clip, Word, build_stream

CROWD_S = 1.0  # that the same voices talk, as in `edgedigit.robustness`, where a window is as long
TALKERS = RobustnessConfig().talkers
BABBLE_NOTE = (
    f"Babble: {TALKERS[0]} to {TALKERS[1]} speakers at once, others every {CROWD_S:g} s, never the one whose word is "
    f"being said; SNR: RMS of a word's loudest 200 ms to that of the babble over {CROWD_S:g} s. They say digits, so "
    "an extra one may be theirs."
)


def by_speaker(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """What each speaker says, in the order of the clips."""
    voices: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        voices[clip.speaker].append(clip)
    return dict(voices)


def babble_under(clips: Sequence[Clip], voices: Mapping[str, Sequence[Clip]], seed: int = 0) -> np.ndarray:
    """Babble of unit RMS to lie under clips in `build_stream` with the same seed: (T,) float32 at their rate.

    Raises:
        DataError: if too few others are there to talk.
    """
    placed = build_stream(clips, clips[0].sample_rate, seed=seed)
    speakers = [clip.speaker for clip in clips]
    return babble_bed(placed.words, speakers, voices, placed.waveform.size, placed.sample_rate, seed)


def babble_bed(
    words: Sequence[Word],
    speakers: Sequence[str],
    voices: Mapping[str, Sequence[Clip]],
    n_samples: int,
    sample_rate: int,
    seed: int = 0,
) -> np.ndarray:
    """Babble of unit RMS under words, (T,) float32 with T of `n_samples` or a little more.

    Args:
        words: where they lie.
        speakers: who says each.
        voices: what each speaker says, at the sample rate.
        n_samples: shortest length.
        sample_rate: Hz.
        seed: draws who talks when.

    Raises:
        DataError: if too few others are there to talk.
    """
    rng = np.random.default_rng(seed)
    n_crowd, n_fade = round(CROWD_S * sample_rate), round(FADE_S * sample_rate)
    parts = []
    for start_s in np.arange(-(-n_samples // n_crowd)) * CROWD_S:
        end_s = start_s + CROWD_S + FADE_S
        saying = {
            who for word, who in zip(words, speakers, strict=True) if word.start_s < end_s and word.clip_end_s > start_s
        }
        others = {who: said for who, said in voices.items() if who not in saying}
        if len(others) < TALKERS[0]:
            raise DataError(
                f"babble behind {', '.join(sorted(saying)) or 'nobody'} needs {TALKERS[0]} other speakers, got "
                f"{len(others)}; leave babble out of --kinds"
            )
        part = babble(others, TALKERS, n_crowd + n_fade, rng)
        parts.append(part / (np.sqrt(np.mean(part**2)) + 1e-9))
    return joined(parts, n_fade).astype(np.float32)
