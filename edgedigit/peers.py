"""What people use for this today, set up as well as we know how: the yardstick of the benchmarks.

Each function returns a recogniser: waveform (T,) float32 at 8 kHz -> digit label, or None for no answer. What listens
to a stream takes blocks and gives events, as `StreamingRecognizer` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from edgedigit.audio import fix_length, resample
from edgedigit.errors import MissingDependencyError
from edgedigit.features import emphasize
from edgedigit.labels import DIGIT_OF_WORD, DIGIT_WORDS
from edgedigit.runtime import Event, Recognizer
from edgedigit.runtime.resampler import StreamResampler
from edgedigit.runtime.silero import SileroNet
from edgedigit.spec import FrontendSpec

SAMPLE_RATE = 8000  # Hz, of the clips
POCKETSPHINX_RATE = 16000  # Hz, of its English model
SILERO_SPEECH = 0.5  # probability; this and what follows are its authors' defaults
SILERO_RELEASE = 0.15
SILERO_SILENCE_S = 0.1
SILERO_PAD_S = 0.03
GRAMMAR = f"#JSGF V1.0;\ngrammar digits;\npublic <digit> = {' | '.join(DIGIT_WORDS)} ;\n"

Recognize = Callable[[np.ndarray], str | None]


def psf_log_mel(waveform: np.ndarray, spec: FrontendSpec) -> np.ndarray:
    """The student's log-mel features by python_speech_features: (T,) -> (1, 1, n_mels, N) float32.

    Raises:
        MissingDependencyError: if python_speech_features is not installed.
    """
    try:
        import python_speech_features
    except ImportError:
        raise MissingDependencyError.of("python_speech_features", "train") from None
    energies, _ = python_speech_features.fbank(
        emphasize(waveform[None], spec)[0],
        samplerate=spec.sample_rate,
        winlen=spec.win_length / spec.sample_rate,
        winstep=spec.hop_length / spec.sample_rate,
        nfilt=spec.n_mels,
        nfft=spec.n_fft,
        lowfreq=spec.f_min,
        highfreq=spec.f_max,
        preemph=0.0,  # done, together with the level
        winfunc=np.hamming,
    )
    return np.log(energies + spec.power_floor).T[None, None].astype(np.float32)


def psf_torch(checkpoint: str | Path, labels: Sequence[str]) -> Recognize:
    """python_speech_features and torch eager on the student that the shipped files were exported from.

    Args:
        checkpoint: `student.pt` beside the exported files.
        labels: of the model's outputs.

    Raises:
        MissingDependencyError: if torch or python_speech_features is not installed.
        ModelError: if the checkpoint is missing or damaged.
    """
    try:
        import torch
    except ImportError:
        raise MissingDependencyError.of("torch", "train") from None
    from edgedigit.compress.prune import fold
    from edgedigit.train.checkpoints import build_model, load_checkpoint

    model = fold(build_model(load_checkpoint(checkpoint)))  # training-time branches folded, as in the exported file
    spec = model.spec
    psf_log_mel(np.zeros(spec.n_samples), spec)  # say now if the package is missing

    @torch.inference_mode()
    def recognize(waveform: np.ndarray) -> str:
        features = psf_log_mel(fix_length(waveform, spec.n_samples), spec)
        return labels[int(torch.softmax(model.network(torch.from_numpy(features)), dim=1).argmax())]

    return recognize


def pocketsphinx(conditioned: bool) -> Recognize:
    """pocketsphinx with its English model and a grammar of the ten digits.

    Args:
        conditioned: bring every clip to one level and put 200 ms of faint noise around it, which the recogniser's
            own estimates of noise and mean need; slower and more often right.

    Raises:
        MissingDependencyError: if pocketsphinx is not installed.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError:
        raise MissingDependencyError.of("pocketsphinx", "dev") from None
    decoder = Decoder(lm=None, samprate=POCKETSPHINX_RATE, loglevel="FATAL")
    decoder.add_jsgf_string("digits", GRAMMAR)
    decoder.activate_search("digits")
    margin = POCKETSPHINX_RATE // 5
    rng = np.random.default_rng(0)

    def recognize(waveform: np.ndarray) -> str | None:
        samples = resample(waveform, SAMPLE_RATE, POCKETSPHINX_RATE)
        if conditioned:
            samples = np.pad(samples * (0.1 / np.sqrt(np.mean(samples**2) + 1e-12)), margin)
            samples = samples + rng.normal(0, 1e-3, samples.size)
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return DIGIT_OF_WORD.get(hypothesis.hypstr) if hypothesis else None

    return recognize


class SileroEndpointing:
    """Silero VAD as its authors' `VADIterator` uses it, and the model on what it has found.

    A word begins with a chunk of 32 ms whose probability reaches 0.5 and ends once it has stayed below 0.35 for 100 ms;
    30 ms around it belong to it.

    Args:
        recognizer: what answers.
        sample_rate: Hz, of the stream.
        model: Silero's ONNX file; None: the one in the package silero-vad.

    Raises:
        ModelError: if Silero's file is missing.

    Source: Silero Team, `VADIterator` in silero_vad/utils_vad.py, https://github.com/snakers4/silero-vad (MIT).
    """

    def __init__(self, recognizer: Recognizer, sample_rate: int, model: str | Path | None = None):
        self.recognizer = recognizer
        self._rate = recognizer.info.sample_rate
        self._net = SileroNet(self._rate, model)
        self._resampler = StreamResampler(sample_rate, self._rate)
        self._pad = round(SILERO_PAD_S * self._rate)
        self._silence = round(SILERO_SILENCE_S * self._rate)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream at time zero."""
        self._net.reset()
        self._resampler.reset()
        self._kept = np.zeros(0, np.float32)  # the word and what comes before it, then less than a chunk
        self._kept_from = 0  # samples of the stream before those
        self._heard = 0  # samples of the stream that the net has had
        self._start: int | None = None
        self._end: int | None = None  # where silence may have begun

    def accept(self, samples: np.ndarray) -> list[Event]:
        """Take the next block, mono (T,) float32."""
        return self._accept(self._resampler.push(samples))

    def flush(self) -> list[Event]:
        """End the stream: answer for a word that is still open, then begin anew."""
        events = self._accept(self._resampler.flush())
        if self._start is not None:
            events.append(self._answer(self._heard))
        self.reset()
        return events

    def _accept(self, samples: np.ndarray) -> list[Event]:
        self._kept = np.concatenate((self._kept, samples))
        length, events = self._net.chunk_length, []
        while self._kept_from + self._kept.size >= self._heard + length:
            at = self._heard - self._kept_from
            probability = self._net.probability(self._kept[at : at + length])
            self._heard += length
            if probability >= SILERO_SPEECH:
                self._end = None
                if self._start is None:
                    self._start = max(0, self._heard - length - self._pad)
            elif self._start is not None and probability < SILERO_SPEECH - SILERO_RELEASE:
                self._end = self._heard if self._end is None else self._end
                if self._heard - self._end >= self._silence:
                    events.append(self._answer(self._end - length + self._pad))
            if self._start is None:
                surplus = max(0, self._heard - self._pad - self._kept_from)
                self._kept, self._kept_from = self._kept[surplus:], self._kept_from + surplus
        return events

    def _answer(self, end: int) -> Event:
        start, self._start, self._end = self._start, None, None
        word = self._kept[start - self._kept_from : end - self._kept_from]
        prediction = self.recognizer.predict(word, self._rate)
        kind = "rejected" if prediction.rejected else "digit"
        return Event(kind, self._heard / self._rate, start / self._rate, end / self._rate, prediction)


SILERO = "Silero VAD's own endpointing"
PSF_TORCH = "python_speech_features + torch eager, same student"
POCKETSPHINX = {
    "pocketsphinx, digits grammar": partial(pocketsphinx, False),
    "pocketsphinx, digits grammar, conditioned input": partial(pocketsphinx, True),
}
