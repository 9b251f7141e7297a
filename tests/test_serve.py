"""The site is served whole, typed, to this computer alone, and what is missing costs one line."""

import _thread
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from edgedigit.manifest import sha256_of, write_manifest
from edgedigit.runtime._paths import default_model
from edgedigit.serve import vendor
from edgedigit.serve.__main__ import main
from edgedigit.serve.chromium import serving
from edgedigit.serve.server import POLICY, open_server
from edgedigit.serve.site import page_dir, site_files

WEB = page_dir()


@pytest.fixture
def small_packages(tmp_path, monkeypatch):
    """Packages of a few bytes under the real names, and the folder of an unpacked copy."""
    packages, copies = [], tmp_path / "copies"
    copies.mkdir()
    for package in vendor.PACKAGES:
        archive = tmp_path / "registry" / package.archive
        archive.parent.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:gz") as tar:
            for member, name in package.members.items():
                (copies / name).write_text(f"// {name}\n")
                tar.add(copies / name, member)
        hashes = {name: sha256_of(copies / name) for name in package.hashes}
        packages.append(vendor.Package(package.name, package.version, sha256_of(archive), package.members, hashes))
    monkeypatch.setattr(vendor, "PACKAGES", tuple(packages))
    return copies


@pytest.fixture
def registry(small_packages, tmp_path, monkeypatch):
    """The packages at another address, and an empty cache."""
    pytest.importorskip("platformdirs")
    monkeypatch.setattr(
        vendor.Package, "url", property(lambda package: (tmp_path / "registry" / package.archive).as_uri())
    )
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache")
    return tmp_path / "registry"


@pytest.fixture
def url(small_packages):
    with open_server(site_files(assets=small_packages), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app.js?again", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/model/manifest.json", "application/json"),
        ("/model/model.onnx", "application/octet-stream"),
        ("/vendor/ort.wasm.bundle.min.mjs", "text/javascript; charset=utf-8"),
        ("/vendor/fvad.wasm", "application/wasm"),
    ],
)
def test_files_have_the_type_that_browsers_insist_on(url, path, kind):
    with urllib.request.urlopen(url + path) as answer:
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.read()


def test_the_page_states_the_policy_that_the_server_sends():
    stated = re.search(r'http-equiv="Content-Security-Policy"\s+content="(.*?)"', (WEB / "index.html").read_text())[1]
    assert stated == POLICY


def test_the_shipped_model_is_served_as_it_is(url):
    with urllib.request.urlopen(url + "/model/model.onnx") as answer:
        assert answer.read() == default_model().read_bytes()


def test_an_older_model_in_the_place_of_a_newer_one_is_sent(tmp_path):
    """What a browser kept while another model was served here is not taken for this one."""
    headers = {}
    for name, changed_s in (("fresh", 2_000_000_000), ("shipped", 1_000_000_000)):
        model = tmp_path / name
        model.write_text(name)
        os.utime(model, (changed_s, changed_s))
        with serving({"model.onnx": model}) as (url, _):
            answer = urllib.request.urlopen(urllib.request.Request(url + "model.onnx", headers=headers))
            assert (answer.status, answer.read().decode()) == (200, name)
        headers = {"If-Modified-Since": answer.headers["Last-Modified"]}


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/model/", "/package.json", "/etc/passwd"]
)
def test_nothing_else_is_served(url, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(url + path)


def test_the_service_worker_keeps_every_file_of_the_site(small_packages):
    listed = re.search(r"FILES = \[(.*?)\]", (WEB / "sw.js").read_text(), re.DOTALL)[1]
    names = {"index.html" if name == "./" else name for name in re.findall(r'"(.+?)"', listed)}
    assert names == set(site_files(assets=small_packages)) - {"sw.js", "vendor/fvad.LICENSE"}


def test_packages_are_fetched_once_checked_and_unpacked(registry, small_packages):
    first = vendor.vendor_files()
    assert {path.read_text() for path in first.values()} == {f"// {name}\n" for name in first}
    for archive in registry.iterdir():
        archive.unlink()
    assert vendor.vendor_files() == first


def test_a_damaged_copy_in_the_cache_is_fetched_again(registry):
    path = vendor.vendor_files()["fvad.js"]
    path.write_text("half")
    assert vendor.vendor_files()["fvad.js"].read_text() == "// fvad.js\n"


def test_another_package_than_the_pinned_one_is_refused(registry, refusal):
    for archive in registry.iterdir():
        archive.write_bytes(b"something else")
    assert "the page needs onnxruntime-web 1.30.0, which cannot be fetched" in refusal(main, ["--no-browser"])


def test_what_is_missing_or_wrong_is_one_line(small_packages, tmp_path, refusal):
    (small_packages / "fvad.wasm").write_text("another")
    assert "fvad.wasm is not the one of @echogarden/fvad-wasm 0.2.0" in refusal(main, ["--assets", small_packages])
    (small_packages / "fvad.wasm").unlink()
    line = refusal(main, ["--assets", small_packages])
    assert "has no fvad.wasm; unpack https://registry.npmjs.org/@echogarden/fvad-wasm/-/fvad-wasm-0.2.0.tgz" in line
    assert "no.onnx is not a file" in refusal(main, ["--model", tmp_path / "no.onnx"])
    assert "--port is 70000" in refusal(main, ["--port", 70000])


def test_a_manifest_that_says_no_version_is_one_line(small_packages, tmp_path, refusal):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"weights")
    write_manifest(model, {})
    words = ["--assets", small_packages, "--no-browser", "--model", model]
    assert "m.manifest.json is incomplete, it says no version" in refusal(main, words)


def test_an_address_that_cannot_be_had_is_one_line(small_packages, url, refusal):
    port = url.rsplit(":", 1)[1]
    assert f"port {port} is in use" in refusal(main, ["--assets", small_packages, "--port", port, "--no-browser"])
    words = ["--assets", small_packages, "--port", "0", "--no-browser", "--host", "192.0.2.1"]
    assert "cannot listen at 192.0.2.1" in refusal(main, words)


@pytest.fixture
def ctrl_c():
    """It ends a program, although a shell has the jobs that it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        *(
            pytest.param(host, "[::1]", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))
            for host in ("::1", "::")
        ),
    ],
)
def test_the_page_is_opened_where_browsers_give_the_microphone(
    small_packages, monkeypatch, capsys, ctrl_c, host, opened
):
    visited = []

    def visit(url):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                visited.append((url, answer.status))
        finally:
            _thread.interrupt_main()  # as Ctrl-C

    monkeypatch.setattr("webbrowser.open", lambda url: threading.Thread(target=visit, args=[url]).start())
    assert main(["--assets", str(small_packages), "--host", host, "--port", "0"]) == 0
    ((url, status),) = visited
    assert re.fullmatch(rf"http://{re.escape(opened)}:\d+/", url) and status == 200
    lines = capsys.readouterr().out.strip().splitlines()
    assert json.loads(lines[-1])["url"] == url and f"{url} is open; Ctrl-C ends" in lines
    assert ("other computers may open the page" in lines[0]) == (host in ("0.0.0.0", "::"))


def test_a_copy_holds_the_whole_site(small_packages, tmp_path, capsys):
    assert main(["--assets", str(small_packages), "--copy-to", str(tmp_path / "site")]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    copied = {
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*") if path.is_file()
    }
    assert copied == set(site_files(assets=small_packages)) and said["n_files"] == len(copied)


def test_serving_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import edgedigit.serve.__main__, edgedigit.serve.server"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def luminance(colour):
    """Of #rrggbb, by WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_contrast_as_wcag_asks(scheme):
    blocks = re.findall(r":root \{(.*?)\}", (WEB / "style.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[scheme]))

    def contrast(one, other):
        high, low = sorted((luminance(colours[one]), luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for text in ("text", "muted", "alarm"):
        assert min(contrast(text, "page"), contrast(text, "panel")) >= 4.5
    assert contrast("on-accent", "accent") >= 4.5
    for drawn in ("accent", "quiet"):  # bars, the waveform, and the edge of a button
        assert min(contrast(drawn, ground) for ground in ("panel", "track", "word", "page")) >= 3
    assert contrast("text", "track") >= 4.5 and contrast("text", "word") >= 4.5  # figures above bars, words above sound


def test_a_browser_that_closes_in_the_middle_of_a_file_leaves_nothing_on_the_terminal(tmp_path, capfd):
    large = tmp_path / "large.onnx"
    large.write_bytes(bytes(64 << 20))  # more than the sockets hold
    with open_server({"large.onnx": large}, "127.0.0.1", 0) as server:
        server.daemon_threads = False  # closing the server waits for the answer to end
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with socket.create_connection(("127.0.0.1", server.server_port)) as browser:
            browser.sendall(b"GET /large.onnx HTTP/1.1\r\nHost: here\r\n\r\n")
            assert browser.recv(12) == b"HTTP/1.1 200"
            browser.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # reset, not read to the end
        server.shutdown()
    thread.join()
    assert capfd.readouterr().err == ""


def test_a_request_for_no_address_is_refused_and_leaves_nothing_on_the_terminal(capfd):
    with (
        serving({}) as (_, server),
        socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as browser,
    ):
        browser.sendall(b"GET http://[ HTTP/1.1\r\nHost: here\r\n\r\n")
        assert browser.recv(12) == b"HTTP/1.1 400"
    assert capfd.readouterr().err == ""
