"""A microphone that was chosen is found again when it comes back, and no other is taken for it without a word."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from edgedigit.errors import DeviceError
from edgedigit.runtime import lasting_microphone
from edgedigit.runtime.lasting_microphone import LastingMicrophone


def raise_if(error):
    if error:
        raise error


class FakePortAudio:
    """What sounddevice offers, as far as it is used; a stream delivers one block, then its device goes."""

    class PortAudioError(Exception):
        pass

    default = SimpleNamespace(device=(0, 0))
    _initialized = True

    def __init__(self):
        self.names, self.opened = [], []
        self.asked_again = iter(())  # what becomes of being asked for devices once one has been opened again

    def _terminate(self):
        pass

    def _initialize(self):
        pass

    def query_devices(self):
        if len(self.opened) > 1:
            raise_if(next(self.asked_again, None))
        return [{"name": name, "max_input_channels": 1, "default_samplerate": 8000.0} for name in self.names]

    def InputStream(self, *, device, callback, finished_callback, **_settings):
        def start():
            self.opened.append(device)
            callback(np.zeros((80, 1), np.float32), 80, None, SimpleNamespace(input_overflow=False))
            finished_callback()

        return SimpleNamespace(start=start, close=lambda: None)


@pytest.fixture
def replug(monkeypatch):
    """Chooses a device, which goes: what is taken among each of the lists that are there then, and all lines."""
    fake = FakePortAudio()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(lasting_microphone, "RETRY_S", 0.001)  # one look for each empty block
    monkeypatch.setattr(lasting_microphone, "TICK_S", 0.001)

    def run(wanted, *lists, asked_again=()):
        fake.asked_again = iter([fake.PortAudioError("busy") if fails else None for fails in asked_again])
        lists, lines = iter(lists), []
        fake.names = next(lists)

        def gone(_line):
            fake.names = next(lists)

        with LastingMicrophone(wanted, on_gone=gone, on_doubt=lines.append) as microphone:
            blocks = iter(microphone)
            next(blocks)
            while not next(blocks).size:
                if (names := next(lists, None)) is None:
                    return None, lines
                fake.names = names
        return fake.opened[-1], lines

    return run


USB, BUILT_IN = "USB Audio: - (hw:{},0)", "Built-in: ALC257 (hw:0,0)"


@pytest.mark.parametrize("wanted", ["usb", 1, "1", USB.format(1)])
def test_a_card_that_comes_back_at_another_address_is_found(replug, wanted):
    assert replug(wanted, [BUILT_IN, USB.format(1)], [BUILT_IN], [BUILT_IN, USB.format(2)]) == (1, [])


def test_a_device_that_fits_the_given_name_takes_the_place_of_one_that_has_gone(replug):
    assert replug("usb", ["Built-in", "USB Microphone"], ["Built-in", "USB Headset"]) == (1, [])
    assert replug(1, ["Built-in", "USB Microphone"], ["Built-in", "USB Headset"]) == (None, [])


def test_what_was_there_under_a_name_of_its_own_is_never_taken(replug):
    assert replug("USB", ["USB", "USB 2"], ["USB 2"]) == (None, [])
    assert replug(0, [USB.format(1), USB.format(2)], [USB.format(2)], [USB.format(2), USB.format(1)]) == (1, [])


@pytest.mark.parametrize("number", [0, 1])
def test_of_twins_the_one_with_the_old_number_is_taken_and_said_once(replug, number):
    twins = ["USB Mic", "USB Mic"]
    taken, lines = replug(number, twins, twins)
    assert taken == number
    assert lines == [
        f"several microphones may be the one that was chosen, 0: USB Mic; 1: USB Mic; number {number} is taken for it"
    ]


def test_a_twin_alone_is_not_taken_and_that_is_said_once(replug):
    taken, lines = replug(0, ["USB Mic", "USB Mic"], ["USB Mic"], ["USB Mic"])
    assert taken is None
    (line,) = lines
    assert "not all of the 2 microphones called USB Mic are there" in line and "\n" not in line


def test_a_newcomer_that_is_called_alike_is_no_reason_to_wait(replug):
    taken, lines = replug("usb", ["Built-in", USB.format(1)], ["Built-in", USB.format(3), USB.format(1)])
    assert taken == 2 and len(lines) == 1  # the one with the same address


def test_an_audio_system_that_fails_right_after_the_device_is_back_is_asked_again(replug):
    card = [BUILT_IN, USB.format(1)]
    assert replug("usb", card, card, card, card, asked_again=[True]) == (1, [])


def test_without_a_choice_any_device_will_do(replug):
    assert replug(None, ["USB Mic"], ["Built-in"]) == (0, [])


def test_a_device_that_was_never_there_is_not_waited_for(replug):
    with pytest.raises(DeviceError, match="no microphone is called 'usb'"):
        replug("usb", ["Built-in"])
