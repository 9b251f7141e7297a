"""Every exception that edgedigit raises on purpose, with the exit code a script ends with."""

from __future__ import annotations


class EdgedigitError(Exception):
    """Base class: one clear line that says what was got, what was expected and what to do."""

    exit_code = 2


class InputError(EdgedigitError, ValueError):
    """The caller's input or options cannot be used."""


class AudioError(InputError):
    """An audio file or array cannot be read as speech: missing, empty, not audio, not finite."""


class EmgError(InputError):
    """A recording of surface EMG cannot be read: missing, empty, not (time, channels), not finite."""


class DataError(InputError):
    """A data set is missing or its files are not laid out as expected."""


class MissingDataError(DataError):
    """A folder of recordings, or the manifest that stands for it, does not exist."""


class ConfigError(InputError):
    """A configuration holds an unknown key or a value of the wrong type."""


class ModelError(InputError):
    """A model file or its manifest is missing, damaged or does not match."""


class DeviceError(EdgedigitError):
    """An audio device is missing, busy or refused."""


class MissingDependencyError(EdgedigitError, ImportError):
    """An optional package is absent; the message names the pip command that brings it."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingDependencyError:
        """The error for a package that an extra of edgedigit brings."""
        return cls(f'{package} is not installed; run: pip install "edgedigit[{extra}]"')


class WorkerError(EdgedigitError):
    """One of several processes that train together ended or does not answer."""


class GateError(EdgedigitError):
    """A measured figure broke its limit: accuracy, size, latency or parity."""

    exit_code = 1
