"""What the scripts share: flags in either spelling, errors as one line, the closing JSON line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from edgedigit.errors import ConfigError, EdgedigitError, MissingDependencyError
from edgedigit.interrupt import INTERRUPTED, raise_on_interrupt


class ArgumentParser(argparse.ArgumentParser):
    """argparse that takes `--data_dir` and `--data-dir` alike, whichever was registered.

    Flags are never guessed from their beginnings, and a wrong one costs one line on stderr and exit code 2.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_known_args(self, args=None, namespace=None):
        """See argparse; every flag is first put into its registered spelling."""
        args = list(sys.argv[1:] if args is None else args)
        registered = {_hyphenated(flag): flag for flag in self._option_string_actions if flag.startswith("--")}
        for i, arg in enumerate(args):
            if arg == "--":
                break
            flag, equals, value = arg.partition("=")
            args[i] = registered.get(_hyphenated(flag), flag) + equals + value
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """One line instead of the whole usage."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def file_ending(suffix: str) -> Callable[[str], str]:
    """For `type=` of a file that is written at the end: what cannot be written is told at the start.

    Refused are a name of another kind, a folder, and a name in a folder that cannot be made or written to.

    Args:
        suffix: what the name has to end in, such as `.json`.
    """

    def check(name: str) -> str:
        if Path(name).suffix != suffix or Path(name).is_dir():
            raise argparse.ArgumentTypeError(f"got {name}, expected a {suffix} file to write")
        if not _is_writable(Path(name)):
            raise argparse.ArgumentTypeError(f"got {name}, which cannot be written; check its folder, or name another")
        return name

    return check


def folder_of(*names: str) -> Callable[[str], str]:
    """For `type=` of a folder that files are written into at the end: what cannot take them is told at the start.

    Args:
        names: of the files.
    """

    def check(name: str) -> str:
        if Path(name).exists() and not Path(name).is_dir():
            raise argparse.ArgumentTypeError(f"{name} is a file; name a folder for {' and '.join(names)}")
        if not all(_is_writable(Path(name, file)) for file in names):
            raise argparse.ArgumentTypeError(f"got {name}, which cannot be written; check its folder, or name another")
        return name

    return check


def _is_writable(path: Path) -> bool:
    """Whether a file can be written there as far as permissions say; missing folders can be made."""
    if path.exists():
        return os.access(path, os.W_OK)
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _hyphenated(flag: str) -> str:
    return "--" + flag[2:].replace("_", "-") if flag.startswith("--") else flag


def print_error(error: Exception | str) -> None:
    """One line on stderr, so that stdout stays a table and its JSON line."""
    print(f"error: {error}", file=sys.stderr)


def print_json(values: object) -> None:
    """One line of JSON on stdout, the last line of every script; in ASCII where stdout cannot write its characters."""
    line = json.dumps(values, ensure_ascii=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # what stdout writes in their place would be no JSON
        line = json.dumps(values)
    print(line, flush=True)


def _open_missing_streams() -> None:
    """Lead the standard streams nowhere that the program was started without, as by `2>&-`.

    Else the next file that is opened takes the number, and with it what C libraries write to standard error; and
    `print` to a standard error that is None writes to standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, as long as the program


def run_main(
    main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None, extra: str = "train,export"
) -> int:
    """Run a script's `main` and return its exit code; what it raises on purpose becomes one line on stderr.

    Args:
        main: of the script.
        argv: its words; None: those of the command line.
        extra: of edgedigit, that brings what the script imports.
    """
    _open_missing_streams()
    if hasattr(sys.stdout, "reconfigure"):  # a name of a file may hold anything
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        raise_on_interrupt()
        return main(argv)
    except EdgedigitError as error:
        print_error(error)
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "edgedigit":
            raise
        print_error(MissingDependencyError.of(error.name, extra))
        return EdgedigitError.exit_code
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # keeps the interpreter's last flush quiet
        return 0
    except OSError as error:  # a folder that cannot be written, a full disk
        print_error(f"{error.filename}: {error.strerror}" if error.filename else error)
        return EdgedigitError.exit_code


def refuse_torchrun() -> None:
    """Raise `ConfigError` in one of several processes that torchrun started: they would write the same files."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("torchrun is for train_distill.py; start this script alone, on the run that was trained")


def leave(code: int) -> NoReturn:
    """End the process with a code, once all has been said and written.

    Of processes that have trained together without the interpreter's teardown: the group of torch's
    DistributedDataParallel outlives its destruction, and its threads may then abort a process that has succeeded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
