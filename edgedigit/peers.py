"""What people use for this today, set up as well as we know how: the yardstick of the benchmarks.

Each function returns a recogniser: waveform (T,) float32 at 8 kHz -> digit label, or None for no answer.
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
from edgedigit.spec import FrontendSpec

SAMPLE_RATE = 8000  # Hz, of the clips
POCKETSPHINX_RATE = 16000  # Hz, of its English model
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


PSF_TORCH = "python_speech_features + torch eager, same student"
POCKETSPHINX = {
    "pocketsphinx, digits grammar": partial(pocketsphinx, False),
    "pocketsphinx, digits grammar, conditioned input": partial(pocketsphinx, True),
}
