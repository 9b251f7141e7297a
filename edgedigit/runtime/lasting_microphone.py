"""A microphone that may be unplugged and comes back."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from edgedigit.errors import DeviceError
from edgedigit.runtime import microphone
from edgedigit.runtime.chosen_device import ChosenDevice

RETRY_S = 1.0  # between two looks for a device that has gone
LOSSES_S = 5.0  # without a loss between two that are told of; closer ones are one trouble
TICK_S = 0.1  # while waiting: how often the program that listens has its turn


class LastingMicrophone:
    """Blocks of a `Microphone`; when it goes, of the one that takes its place. Use it with `with`, then iterate.

    While there is none, empty blocks come. A device that was chosen is waited for by the name that was given, else by
    its own, since numbers change (`ChosenDevice`); otherwise whichever is the default then will do, and its rate may be
    another.

    Args:
        device: number or name, as for `find_device`.
        on_gone: called with one line when the device has gone.
        on_back: called with one line when sound comes again; the stream before it has ended.
        on_lost: called with one line when sound was lost, once for all losses that follow each other closely.
        on_doubt: called with one line, once, when devices that are called alike cannot be told apart.

    Attributes:
        sample_rate: Hz, of the blocks that come now.
        name: of the device.
        n_gone: how often it went.

    Raises:
        DeviceError: as `Microphone`, if there is no device to begin with.
    """

    def __init__(
        self,
        device: int | str | None = None,
        on_gone: Callable[[str], None] = lambda _line: None,
        on_back: Callable[[str], None] = lambda _line: None,
        on_lost: Callable[[str], None] = lambda _line: None,
        on_doubt: Callable[[str], None] = lambda _line: None,
    ):
        self._on_gone, self._on_back, self._on_lost, self._on_doubt = on_gone, on_back, on_lost, on_doubt
        self._wanted = device
        self._microphone = microphone.Microphone(device)
        self._chosen = self._remember(self._microphone)
        self._doubts: set[str] = set()  # said
        self._overruns_before = self._overruns_seen = self.n_gone = 0
        self._lost_s = -math.inf  # when the last loss was seen, of `time.monotonic`

    def __enter__(self) -> LastingMicrophone:
        self._microphone.__enter__()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._microphone.__exit__()

    @property
    def sample_rate(self) -> int:
        return self._microphone.sample_rate

    @property
    def name(self) -> str:
        return self._microphone.device.name

    @property
    def overruns(self) -> int:
        """Blocks lost so far."""
        return self._overruns_before + self._microphone.overruns

    @property
    def captured_s(self) -> float:
        """When the last sample of the block that came last had been captured, of `time.monotonic`."""
        return self._microphone.captured_s

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            try:
                for block in self._microphone:
                    self._watch_losses()
                    yield block
            except DeviceError:
                self.n_gone += 1
                self._microphone.__exit__()
                self._on_gone(f"{self._microphone} has gone; waiting for it")
            while (first := self._try_again()) is None:
                for _ in range(round(RETRY_S / TICK_S)):
                    yield np.zeros(0, np.float32)
                    time.sleep(TICK_S)
            self._on_back(f"{self._microphone} is back, at {self.sample_rate} Hz")
            yield first

    def _watch_losses(self) -> None:
        if self.overruns > self._overruns_seen:
            now = time.monotonic()
            if now - self._lost_s > LOSSES_S:
                self._on_lost("sound is being lost: the machine does not keep up")
            self._overruns_seen, self._lost_s = self.overruns, now

    def _try_again(self) -> np.ndarray | None:
        """The first block of a device that works again; None if there is none yet."""
        try:
            microphone.refresh_devices()
            if (wanted := self._find_again()) is None and self._chosen:
                return None
            candidate = microphone.Microphone(wanted)
            with contextlib.ExitStack() as stack:
                first = next(iter(stack.enter_context(candidate)))
                chosen = self._remember(candidate)
                stack.pop_all()  # it stays open
        except DeviceError:
            return None
        self._overruns_before = self.overruns
        self._microphone, self._chosen = candidate, chosen
        return first

    def _remember(self, opened: microphone.Microphone) -> ChosenDevice | None:
        """None if no device was chosen."""
        if self._wanted is None:
            return None
        return ChosenDevice(self._wanted, opened.device, microphone.list_devices())

    def _find_again(self) -> int | None:
        """The number that the chosen device has now; None if it is not there, or none was chosen."""
        if self._chosen is None:
            return None
        device, doubt = self._chosen.find_again(microphone.list_devices())
        if doubt and doubt not in self._doubts:
            self._doubts.add(doubt)
            self._on_doubt(doubt)
        return device and device.number
