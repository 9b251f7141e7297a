"""A microphone that was chosen, found again among those that are there later."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgedigit.runtime.microphone import InputDevice, matching

ADDRESS = re.compile(r" *\(hw:\d+,\d+\)$")  # ALSA's card and device, which change when a card is plugged in again


class ChosenDevice:
    """What is known of a chosen device: how it was asked for, what it was called, and what else was there.

    Args:
        wanted: number or name, as for `find_device`.
        device: what was found then.
        present: all devices that were there, `device` among them.
    """

    def __init__(self, wanted: int | str, device: InputDevice, present: Sequence[InputDevice]):
        self._device = device
        # A number is a place in a list that changes, so that it is the name which was chosen.
        self._wanted = None if isinstance(wanted, int) or wanted.isdecimal() else wanted
        self._others = {other.name for other in present} - {device.name}
        self._n_twins = sum(other.name == device.name for other in present)

    def find_again(self, devices: Sequence[InputDevice]) -> tuple[InputDevice | None, str | None]:
        """The device, if it is there.

        A name that was given is looked for as it was given, else the device's own name without its address; devices
        that were there from the beginning under another name are others. Of several the one with the same full name
        and the same number is preferred.

        Args:
            devices: all that are there now.

        Returns:
            The device, or None: it is not there, or what is there may as well be one that only has the same name; and
            a line, if it cannot be told from another.
        """
        fitting = matching(devices, self._wanted) if self._wanted else []
        fitting = self._alike(fitting) or fitting or self._alike(devices)
        candidates = [device for device in fitting if device.name not in self._others]
        if not candidates:
            return None, None
        n_left = sum(device.name == self._device.name for device in candidates)
        if 0 < n_left < self._n_twins:
            return None, (
                f"not all of the {self._n_twins} microphones called {self._device.name} are there, and nothing tells "
                "which was chosen; waiting for all of them, or start again with --device"
            )
        old = self._device
        best = max(candidates, key=lambda device: (device.name == old.name, device.number == old.number))
        if len(candidates) == 1:
            return best, None
        listing = "; ".join(f"{device.number}: {device.name}" for device in candidates)
        return (
            best,
            f"several microphones may be the one that was chosen, {listing}; number {best.number} is taken for it",
        )

    def _alike(self, devices: Sequence[InputDevice]) -> list[InputDevice]:
        return [device for device in devices if _bare(device) == _bare(self._device)]


def _bare(device: InputDevice) -> str:
    return ADDRESS.sub("", device.name)
