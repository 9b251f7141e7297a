"""The downloader resumes, checks and fails in one line, against a server on this machine."""

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from edgedigit.data import download
from edgedigit.data.download import Corpus, fetch, folder_digest, locate
from edgedigit.errors import DataError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content` with ranges; hangs up after `server.hang_up_after` bytes of a response."""

    def do_GET(self):
        server = self.server
        content, start = server.content, 0
        if server.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: server.hang_up_after]
        server.served.append((start, len(body)))
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.ranges, server.hang_up_after, server.served = CONTENT, True, None, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/archive.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "cache_dir", lambda: tmp_path / "cache")


def test_a_whole_file_arrives_and_nothing_else_is_left(server, tmp_path):
    fetch(server.url, tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_half_a_file_is_resumed_and_not_fetched_again(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT[:400_000])
    fetch(server.url, tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served == [(400_000, 600_000)]


def test_a_file_that_is_complete_but_unchecked_is_only_checked(server, tmp_path):
    (tmp_path / "file.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served == []


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.hang_up_after = 400_000
    fetch(server.url, tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.served == [(0, 400_000), (400_000, 400_000), (800_000, 200_000)]


def test_a_connection_that_keeps_breaking_keeps_what_arrived(server, tmp_path):
    server.hang_up_after = 100_000
    with pytest.raises(DataError, match="300000 of 1000000 bytes; run again"):
        fetch(server.url, tmp_path / "file", SHA256)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:300_000]


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.part").write_bytes(b"x" * 400_000)
    fetch(server.url, tmp_path / "file", SHA256)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_wrong_hash_is_rejected_and_removed(server, tmp_path):
    with pytest.raises(DataError, match="sha256"):
        fetch(server.url, tmp_path / "file", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_one_line_that_says_where_to_put_the_files(server, tmp_path):
    closed = f"http://127.0.0.1:{free_port()}/archive.tar.gz"
    corpus = Corpus("tones", ("tones",), "*.wav", closed, sha256=SHA256)
    with pytest.raises(DataError) as caught:
        locate(corpus, tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert closed in message
    assert str(tmp_path / "data" / "tones") in message


def free_port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.server_close()
    return server.server_address[1]


@pytest.fixture
def tones(tmp_path):
    """A folder of two recordings, and a tar.gz of it as a release archive would hold them."""
    folder = tmp_path / "original"
    folder.mkdir()
    for digit in "01":
        soundfile.write(folder / f"{digit}_ann_0.wav", np.full(800, 0.1), 8000)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(folder, "tones-1.0/recordings")
    return folder, archive.getvalue()


def test_a_corpus_is_downloaded_unpacked_checked_and_then_found(server, tmp_path, tones):
    folder, server.content = tones
    corpus = Corpus(
        "tones", ("tones/tones-1.0/recordings",), "*.wav", server.url, content_sha256=folder_digest(folder, "*.wav")
    )
    found = locate(corpus, tmp_path / "data")
    assert sorted(path.name for path in found.iterdir()) == ["0_ann_0.wav", "1_ann_0.wav"]
    assert locate(corpus, tmp_path / "data") == found
    assert len(server.served) == 1
    assert not any((tmp_path / "cache" / "archives").iterdir())


def test_a_corpus_with_other_recordings_than_expected_is_rejected_and_removed(server, tmp_path, tones):
    _, server.content = tones
    corpus = Corpus("tones", ("tones/tones-1.0/recordings",), "*.wav", server.url, content_sha256="0" * 64)
    with pytest.raises(DataError, match="does not hold the expected recordings"):
        locate(corpus, tmp_path / "data")
    assert not (tmp_path / "cache" / "tones").exists()


def test_an_archive_that_is_not_a_tar_is_removed(server, tmp_path):
    corpus = Corpus("tones", ("tones",), "*.wav", server.url, sha256=SHA256)
    with pytest.raises(DataError, match="not a complete tar archive"):
        locate(corpus, tmp_path / "data")
    assert not any((tmp_path / "cache" / "archives").iterdir())


def test_an_archive_that_would_write_elsewhere_is_removed(server, tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../../outside"))
    server.content = archive.getvalue()
    corpus = Corpus("tones", ("tones",), "*.wav", server.url, content_sha256="0" * 64)
    with pytest.raises(DataError, match="outside lies outside"):
        locate(corpus, tmp_path / "data")
    assert not list(tmp_path.rglob("outside")) and not any((tmp_path / "cache" / "archives").iterdir())


def test_a_corpus_without_any_known_hash_is_never_downloaded(server, tmp_path):
    corpus = Corpus("tones", ("tones",), "*.wav", server.url)
    with pytest.raises(DataError, match="no hash is known"):
        locate(corpus, tmp_path / "data")
    assert server.served == []
