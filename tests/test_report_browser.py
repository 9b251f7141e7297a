"""The page about trainings in a real browser: nothing is complained about, every player has its sound."""

import json
import re
import shutil
import subprocess

import pytest
from test_report_page import page_of, trained

__all__ = ["trained"]  # a fixture

NAMES = ("chromium", "chromium-browser", "google-chrome")
LOOK = """
<script>
addEventListener("load", async () => {
  const players = [...document.querySelectorAll("audio")];
  await Promise.all(players.map((player) => new Promise((done) => {
    if (player.readyState > 0 || player.error) done();
    player.addEventListener("loadedmetadata", done);
    player.addEventListener("error", done);
  })));
  const seen = {
    durations: players.map((player) => player.duration),
    pictures: [...document.images].map((image) => image.naturalWidth),
    drawings: [...document.querySelectorAll("figure svg")].map((svg) => svg.getBoundingClientRect().height),
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name).filter((name) => !/^data:/.test(name)),
    width: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  const note = document.createElement("pre");
  note.id = "seen";
  note.textContent = JSON.stringify(seen);
  document.body.append(note);
});
</script>
"""


@pytest.fixture(scope="module")
def chromium():
    """Command of a Chromium without a window."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is installed")
    return [path, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]


def look(chromium, page, size):
    """What the page's own elements say once loaded, and what the console says."""
    command = [*chromium, f"--window-size={size}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    seen = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert seen, done.stderr
    return json.loads(seen[1]), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
@pytest.mark.parametrize("size", ["1200,800", "500,900"])
def test_the_page_loads_whole_and_without_a_complaint(trained, tmp_path, chromium, size):
    run_dir, data_dir = trained
    text = page_of(tmp_path, run_dir, options=("--data-dir", str(data_dir), "--clips", "4"))
    page = tmp_path / "looked_at.html"
    page.write_text(text.replace("</body>", LOOK + "</body>"), encoding="utf-8")
    seen, console = look(chromium, page, size)
    assert console == []
    assert seen["durations"] == [pytest.approx(0.3, abs=0.01)] * 8
    assert seen["pictures"] == [99] * 8
    assert seen["drawings"] and min(seen["drawings"]) > 100
    assert seen["loaded"] == []
    assert seen["width"] == 0  # no scrolling sideways


@pytest.mark.browser
def test_the_console_is_really_listened_to(tmp_path, chromium):
    page = tmp_path / "wrong.html"
    page.write_text(f"<body><audio src='data:audio/wav;base64,AAAA'></audio>{LOOK}<script>nonsense()</script></body>")
    seen, console = look(chromium, page, "500,500")
    assert len(console) == 1 and "nonsense" in console[0]
    assert seen["durations"] == [None]  # NaN
