"""Open the page that recognises speech in the browser, from this computer.

python -m edgedigit.serve                          opens http://127.0.0.1:8765/; Ctrl-C ends
python -m edgedigit.serve --model mine/model.onnx  with another model
python -m edgedigit.serve --copy-to site           writes the site for any web server, and ends

The first time two packages are fetched from the npm registry into your cache (33 MB); --assets names a folder of their
files instead. Needs pip install "edgedigit[web]".
"""

from __future__ import annotations

import argparse
import ipaddress
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, run_main
from edgedigit.errors import ModelError
from edgedigit.manifest import manifest_path, read_manifest

HOST = "127.0.0.1"  # this computer alone
PORT = 8765


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = ArgumentParser(prog="python -m edgedigit.serve", description=__doc__)
    parser.add_argument("--model", type=Path, metavar="ONNX", help="model file; default: the shipped one")
    parser.add_argument(
        "--assets", type=Path, metavar="DIR", help="copies of other projects' files; default: the cache"
    )
    parser.add_argument("--host", default=HOST, help="address to listen at (%(default)s, this computer alone)")
    parser.add_argument("--port", type=int, default=PORT, help="0 for any free one (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser")
    parser.add_argument("--copy-to", type=Path, metavar="DIR", help="write the site there instead, and end")
    args = parser.parse_args(argv)
    if not 0 <= args.port <= 65535:
        parser.error(f"--port is {args.port}, expected 0 to 65535")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C, or write the site; returns the exit code."""
    args = parse_args(argv)

    from edgedigit.serve.server import open_server
    from edgedigit.serve.site import copy_site, site_files

    # 1. The files.
    files = site_files(args.model, args.assets)
    model = files["model/model.onnx"]
    facts = {"model": str(model), "version": read_manifest(model).get("version")}
    if facts["version"] is None:  # nor can the page use it
        raise ModelError(f"{manifest_path(model)} is incomplete, it says no version; run export_models.py again")
    if args.copy_to:
        copy_site(files, args.copy_to)
        print(f"wrote {len(files)} files to {args.copy_to}; offer them by https, or at localhost")
        print_json({**facts, "site": str(args.copy_to), "n_files": len(files)})
        return 0

    # 2. The server.
    with open_server(files, args.host, args.port) as server:
        address, port = ipaddress.ip_address(server.server_address[0]), server.server_address[1]
        if not address.is_loopback:
            print("other computers may open the page; browsers give the microphone to https and localhost alone")
        url = url_here(address, port)
        print(f"{url} is open; Ctrl-C ends", flush=True)
        print_json({**facts, "url": url})
        if not args.no_browser:
            webbrowser.open(url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def url_here(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> str:
    """Where this computer opens what listens at an address; browsers give `0.0.0.0` no microphone."""
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://{address}:{port}/" if address.version == 4 else f"http://[{address}]:{port}/"


if __name__ == "__main__":
    sys.exit(run_main(main, extra="web"))
