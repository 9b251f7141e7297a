"""The page hears a stream in Chromium: when the device handed sound over, what came of it, when it was drawn."""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedigit.audio import write_wav
from edgedigit.errors import DeviceError
from edgedigit.serve.chromium import chromium, playing, serving
from edgedigit.serve.site import site_files
from edgedigit.word_stream import WordStream

DEVICE_RATE = 44100  # Hz of Chromium's fake microphone, which would resample anything else
READY_S = 60.0  # for the model to be loaded, the microphone to open and what waits to be recognised
AFTER_S = 0.5  # listened to after the stream's end

# Runs before the page. A clone of the microphone's track says when the device handed over which block; the recogniser's
# messages say what sound the page has; a row of the table has been drawn in the first task after its animation frame.
WATCH = """
globalThis.watched = { blocks: [], audio: [], heard: [], rows: [], nShown: 0, isStopped: false };
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const media = await open(wanted);
  follow(media.getAudioTracks()[0].clone());
  return media;
};
async function follow(track) {
  const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1000 }).readable.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    watched.rate = value.sampleRate;
    const first = new Float32Array(1);
    value.copyTo(first, { planeIndex: 0, frameCount: 1, format: "f32-planar" });
    watched.blocks.push([value.timestamp / 1000, performance.now(), value.numberOfFrames, first[0]]);
    value.close();
  }
}
globalThis.Worker = class extends Worker {
  constructor(...how) {
    super(...how);
    this.addEventListener("message", ({ data }) => {
      if (data.type === "stopped") watched.isStopped = true;
      if (data.type !== "audio") return;
      watched.audio.push([performance.now(), data.samples.length]);
      watched.heard.push(data.samples.slice());
    });
  }
};
addEventListener("DOMContentLoaded", () => {
  const note = (row, shownMs) => {
    watched.nShown++;
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      const drawnMs = performance.now();
      watched.rows.push({ ...row.dataset, seconds: row.cells[2].textContent, shownMs, drawnMs });
    };
    requestAnimationFrame(() => port2.postMessage(null));
  };
  new MutationObserver((changes) => {
    const shownMs = performance.now();
    for (const { addedNodes } of changes) for (const row of addedNodes) note(row, shownMs);
  }).observe(document.getElementById("answers"), { childList: true });
});
"""
IS_READY = "() => document.querySelector('#listen:enabled, #failure:not(:empty)')"
IS_LISTENING = """() => document.querySelector("#status").textContent.startsWith("Listening")
  || document.querySelector("#failure:not(:empty)")"""
IS_PLAYED = """(seconds) => !watched.blocks.length || document.querySelector("#failure:not(:empty)")
  || watched.blocks.reduce((sum, block) => sum + block[2], 0) >= seconds * watched.rate"""
IS_OVER = "() => watched.isStopped && watched.rows.length === watched.nShown"
COLLECT = """async () => {
  const url = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(new Blob(watched.heard));
  });
  return JSON.stringify({ ...watched, heard: url.slice(url.indexOf(",") + 1) });
}"""


@dataclass(frozen=True, eq=False)
class Heard:
    """What a page heard and showed. Times are of its clock, `performance.now()`, in ms.

    Attributes:
        sample_rate: Hz, of the device.
        blocks: (N, 4), of each block of the device: when it was handed over, when this was seen, its samples, the
            first of them.
        audio: (M, 2), of what the page has at the model's rate: when a piece came, its samples.
        waveform: (T,) those samples.
        rows: of the page's table: `label best probability computeMs seconds shownMs drawnMs`.
    """

    sample_rate: int
    blocks: np.ndarray
    audio: np.ndarray
    waveform: np.ndarray
    rows: list[dict]


def hear(model: Path, stream: WordStream) -> Heard:
    """Serve the page with a model, open it in Chromium, and let it listen to a stream from the fake microphone.

    Raises:
        DeviceError: if Chromium or the page fails; their line is in it.
        InputError: if Chromium or a file of the page is missing.
    """
    from playwright.sync_api import Error

    with tempfile.TemporaryDirectory(prefix="browser") as folder, serving(site_files(model)) as (url, _):
        recording = Path(folder, "stream.wav")
        write_wav(recording, stream.waveform, stream.sample_rate)
        try:
            with chromium(*playing(recording)) as browser:
                page = browser.new_page()
                page.set_default_timeout(1000 * READY_S)
                page.add_init_script(WATCH)
                page.goto(url)
                page.wait_for_function(IS_READY)
                _refuse_failure(page)
                page.click("#listen")
                page.wait_for_function(IS_LISTENING)
                _refuse_failure(page)
                page.wait_for_timeout(1000 * (stream.duration_s + AFTER_S))
                page.wait_for_function(IS_PLAYED, arg=stream.duration_s + AFTER_S)  # on a busy machine the device lags
                _refuse_failure(page)
                page.click("#listen")
                page.wait_for_function(IS_OVER)
                _refuse_failure(page)
                got = json.loads(page.evaluate(COLLECT))
        except Error as error:
            line = str(error).strip().splitlines()[0]
            raise DeviceError(f"Chromium does not do it ({line}); close other programs and measure again") from None
    if not got["blocks"] or not got["audio"]:
        raise DeviceError(
            "Chromium's microphone gave no sound or no stamps; use Chromium 94 or later and measure again"
        )
    waveform = np.frombuffer(base64.b64decode(got["heard"]), "<f4")
    return Heard(got["rate"], np.array(got["blocks"]), np.array(got["audio"]), waveform, got["rows"])


def _refuse_failure(page) -> None:
    line = page.text_content("#failure")
    if line:
        raise DeviceError(f"the page says: {line}")
