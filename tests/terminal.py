"""A pseudo-terminal with a program on it."""

import codecs
import contextlib
import json
import os
import pty
import subprocess
import termios
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Terminal:
    """What the program has written so far, and keys for it; `options` are environment variables."""

    def __init__(self, *words, folder, **options):
        self._own, other = pty.openpty()
        self.before = termios.tcgetattr(other)
        self._other, self.text = other, ""
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **options}
        environment["PYTHONPATH"] = str(ROOT)
        self._process = subprocess.Popen(words, cwd=folder, env=environment, stdin=other, stdout=other, stderr=other)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character
        with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
            while content := os.read(self._own, 65536):
                self.text += decoder.decode(content)

    def press(self, key):
        os.write(self._own, key.encode())

    def wait_for(self, text, seconds=60):
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline and self._process.poll() is None, self.text[-2000:]
            time.sleep(0.01)

    def terminate(self):
        self._process.terminate()

    def end(self):
        """Exit code, last line of JSON, and whether the terminal is as it was."""
        code = self._process.wait(60)
        restored = termios.tcgetattr(self._other) == self.before
        os.close(self._other)
        self._reader.join(60)
        summary = json.loads(self.text.strip().splitlines()[-1].rpartition("\x1b[?25h")[2])
        return code, summary, restored
