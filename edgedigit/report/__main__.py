"""Look at trainings, or write the measured figures of README.md and MODEL_CARD.md from result files.

python -m edgedigit.report runs/mine                       # runs/mine/report.html: curves, answers, hardest clips
python -m edgedigit.report runs/mine runs/other --out both.html
python -m edgedigit.report            # rewrite every generated block of the documents
python -m edgedigit.report --check    # exit code 1 if a block no longer matches its result files
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.errors import InputError
from edgedigit.report.documents import DOCUMENTS, update_document


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = ArgumentParser(prog="python -m edgedigit.report", description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folder of a run, finished or not; several are compared")
    parser.add_argument("--out", type=Path, help="page (RUN/report.html, of several runs report.html)")
    parser.add_argument("--clips", type=int, default=12, help="hardest clips of each part (%(default)s)")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a block is stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: the current folder)")
    args = parser.parse_args(argv)
    if args.runs and args.check:
        parser.error("--check is about the documents; leave it out to look at runs")
    if args.out and not args.runs:
        parser.error("--out is the page about runs; name a RUN")
    if args.out and not args.out.suffix:  # the pictures' folder is named so
        parser.error(f"--out is {args.out}, expected a file such as page.html")
    if args.clips < 0:
        parser.error(f"--clips is {args.clips}, expected 0 or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page about runs; without any, rewrite or check the generated blocks of the documents."""
    args = parse_args(argv)
    return write_runs(args) if args.runs else write_documents(args)


def write_runs(args: argparse.Namespace) -> int:
    """One page about the runs, and its pictures as PNG beside it."""
    from edgedigit.report.page import write_page

    out = args.out or (Path(args.runs[0]) / "report.html" if len(args.runs) == 1 else Path("report.html"))
    notes = write_page(args.runs, out, args.data_dir, args.clips)
    for note in notes:
        print(note)
    print(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB), pictures in {out.with_suffix('')}")
    print_json({"page": str(out), "pictures": str(out.with_suffix("")), "notes": notes})
    return 0


def write_documents(args: argparse.Namespace) -> int:
    """Rewrite or check the generated blocks; the exit code is 1 if, with --check, one is stale."""
    exit_code = 0
    for name in DOCUMENTS:
        path = args.root / name
        if not path.is_file():
            raise InputError(f"{path} is missing; run this in the repository, or name it with --root")
        text, stale = update_document(path.read_text(encoding="utf-8"), args.root)
        if args.check and stale:
            print(f"{path}: stale: {', '.join(stale)}; run python -m edgedigit.report")
            exit_code = 1
        elif stale:
            path.write_text(text, encoding="utf-8")
            print(f"{path}: rewrote {', '.join(stale)}")
        else:
            print(f"{path}: up to date")
    return exit_code


if __name__ == "__main__":
    sys.exit(run_main(main))
