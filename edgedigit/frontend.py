"""The features of `edgedigit.features` and `edgedigit.emg_features` as an exportable module: convolutions, no STFT."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgedigit import emg_features, features
from edgedigit.spec import FrontendSpec


class Frontend(nn.Module):
    """A window (B, *spec.signal.shape) to features (B, C, F, N), equal to `features.compute`, of EMG `emg_features`'s.

    The DFT is one strided convolution whose filters are windowed cosines and sines; mel filters are a
    1x1 convolution over the squared outputs. The filters of EMG are a convolution with their impulse response.
    Every weight is a buffer: nothing here is trained.
    """

    def __init__(self, spec: FrontendSpec):
        super().__init__()
        self.spec = spec
        if spec.kind == "raw":
            return
        k = np.arange(spec.n_bins)[:, None]
        n = np.arange(spec.win_length)[None, :]
        angle = 2 * np.pi * k * n / spec.n_fft
        window = features.window_of(spec) / np.sqrt(spec.n_fft)
        dft = np.concatenate([np.cos(angle) * window, -np.sin(angle) * window])  # (2 * n_bins, win_length)
        self.register_buffer("dft", _tensor(dft)[:, None, :], persistent=False)
        if spec.kind == "spectrogram":
            return
        if spec.kind == "emg":
            response = emg_features.impulse_response(spec)[::-1].copy()  # a convolution here is a correlation
            self.register_buffer("impulse", _tensor(response)[None, None], persistent=False)
            bands = emg_features.band_filters(spec)
            self.register_buffer("bands", _tensor(np.concatenate([bands, bands], axis=1))[:, :, None], persistent=False)
            return
        mel = features.mel_filters(spec)
        self.register_buffer("mel", _tensor(np.concatenate([mel, mel], axis=1))[:, :, None], persistent=False)
        if spec.kind == "mfcc":
            self.register_buffer("dct", _tensor(features.dct_matrix(spec))[:, :, None], persistent=False)
            kernel = features.delta_kernel(spec.delta_width)
            self.register_buffer("delta", _tensor(np.tile(kernel, (spec.n_mfcc, 1)))[:, None, :], persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        spec = self.spec
        if spec.kind == "emg":
            return self._emg(waveform)
        x = torch.cat([waveform[:, :1], waveform[:, 1:] - spec.preemphasis * waveform[:, :-1]], dim=1)
        if spec.level_normalize:
            # Written with 1 added, not the floor's square: optimisers of the exported graph drop sums with 1e-10.
            power = (x * x).mean(dim=1, keepdim=True) / features.RMS_FLOOR**2
            x = x / (features.RMS_FLOOR * torch.sqrt(power + 1.0))
        if spec.kind == "raw":
            return x[:, None, None]  # (B, 1, 1, T)
        padding = (spec.n_frames - 1) * spec.hop_length + spec.win_length - spec.n_samples
        spectrum = F.conv1d(F.pad(x, (0, padding))[:, None], self.dft, stride=spec.hop_length)
        power = spectrum * spectrum  # (B, 2 * n_bins, N): real parts, then imaginary parts
        if spec.kind == "spectrogram":
            real, imaginary = power.chunk(2, dim=1)
            return self._log(real + imaginary)[:, None]  # (B, 1, n_bins, N)
        logs = self._log(F.conv1d(power, self.mel))
        if spec.kind == "log_mel":
            return logs[:, None]  # (B, 1, n_mels, N)
        energy = self._log(power.sum(dim=1, keepdim=True))
        cepstra = torch.cat([energy, F.conv1d(logs, self.dct[1:])], dim=1)
        stack = [cepstra]
        for _ in range(spec.n_deltas):
            padded = F.pad(stack[-1], (spec.delta_width, spec.delta_width), mode="replicate")
            stack.append(F.conv1d(padded, self.delta, groups=spec.n_mfcc))
        return torch.stack(stack, dim=1)  # (B, 1 + n_deltas, n_mfcc, N)

    def _emg(self, emg: Tensor) -> Tensor:
        """(B, C, T) to (B, C, F, N); channels are rows of the batch until the end."""
        spec = self.spec
        rest = emg[:, :, :1]  # before the window, the electrodes are taken to have rested here
        x = F.pad((emg - rest).flatten(0, 1)[:, None], (self.impulse.shape[2] - 1, 0))
        x = F.conv1d(x, self.impulse)  # (B * C, 1, T)
        padding = (spec.n_frames - 1) * spec.hop_length + spec.win_length - spec.n_samples
        x = F.pad(x, (0, padding))
        spectrum = F.conv1d(x, self.dft, stride=spec.hop_length)
        bands = torch.log(F.conv1d(spectrum * spectrum, self.bands) + spec.power_floor)  # (B * C, n_bands, N)
        first = x - F.pad(x[:, :, :-1], (1, 0))
        second = first - F.pad(first[:, :, :-1], (1, 0))
        size = torch.cat([x, first, second], dim=1).abs()  # (B * C, 3, T)
        means = F.avg_pool1d(size, spec.win_length, spec.hop_length)
        peak = F.max_pool1d(size[:, :1], spec.win_length, spec.hop_length)
        levels = torch.log(torch.cat([means, peak], dim=1) + spec.power_floor**0.5)
        return torch.cat([bands, levels], dim=1).unflatten(0, (-1, spec.n_channels))

    def _log(self, power: Tensor) -> Tensor:
        if self.spec.power_floor > features.EPSILON:  # one operator less in the exported graph
            return torch.log(power + self.spec.power_floor)
        return torch.log(power.clamp_min(features.EPSILON))


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
