"""The page in a real browser answers as Python does, alone, without a network, and without a mouse."""

import re
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("playwright")
pytest.importorskip("webrtcvad")
from playwright.sync_api import Error, sync_playwright

from edgedigit.audio import load_waveform, write_wav
from edgedigit.labels import DIGIT_WORDS, NON_DIGIT
from edgedigit.manifest import read_manifest
from edgedigit.runtime import Recognizer, StreamingRecognizer
from edgedigit.runtime._paths import artifacts_dir, default_model
from edgedigit.serve.chromium import FAKE_DEVICE, FAKE_MICROPHONE, find_chromium, playing, serving, started
from edgedigit.serve.site import site_files

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]
N_LABELS = len(read_manifest(default_model())["labels"])
LOADED = "#listen:enabled, #failure:not(:empty)"


@pytest.fixture(scope="module")
def samples():
    """Our ten clips in order, at 8 kHz."""
    return [artifacts_dir() / "samples" / f"{word}.wav" for word in DIGIT_WORDS]


@pytest.fixture(scope="module")
def recording(samples, tmp_path_factory):
    """All ten in one WAV. The noise is below the floor that a stream assumes, so it does not matter when one begins."""
    parts = [np.zeros(16000)]
    for path in samples:
        parts += [load_waveform(path), np.zeros(3200)]
    waveform = np.concatenate([*parts, np.zeros(4800)])
    path = tmp_path_factory.mktemp("recording") / "ten.wav"
    write_wav(path, waveform + np.random.default_rng(0).normal(0, 1e-4, waveform.size))
    return path


@pytest.fixture(scope="module")
def heard(recording):
    """What Python hears in the recording."""
    stream = StreamingRecognizer(Recognizer())
    return [event for event in stream.accept(load_waveform(recording)) + stream.flush() if event.prediction]


@pytest.fixture(scope="module")
def playwright():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright):
    """Without a microphone. Each page is opened in a context of its own, so that nothing is left for the next."""
    with started(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def browser_that_hears(playwright):
    """With one that beeps each second, too briefly for a word."""
    with started(playwright, *FAKE_MICROPHONE) as browser:
        yield browser


@pytest.fixture(scope="module")
def site():
    with serving(site_files()) as (url, _):
        yield url


@contextmanager
def opened(browser, url, complaints, before=None, script="", **settings):
    """The page, loaded or having said why not; what it complains of in the console goes to `complaints`.

    `script` runs in it before its own.
    """
    context = browser.new_context(**settings)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.add_init_script(script)
    if before:
        before(page)
    page.goto(url)
    page.wait_for_selector(LOADED, timeout=60_000)
    try:
        yield page
    finally:
        context.close()


def start_listening(page):
    page.click("#listen")
    page.get_by_text("Listening to").wait_for()


def answers(page, at_least, timeout_ms=60_000):
    """Rows of the table, oldest first, once there are so many: (label, best, probability, seconds)."""
    page.wait_for_selector(f"#answers tr:nth-child({at_least})", timeout=timeout_ms)
    rows = page.eval_on_selector_all(
        "#answers tr", "rows => rows.map((row) => ({...row.dataset, seconds: row.cells[2].textContent}))"
    )
    for row in reversed(rows):
        start_s, end_s = map(float, row["seconds"].split("–"))
        yield row["label"], row["best"], float(row["probability"]), start_s, end_s


KEEP_SOUND = """
globalThis.kept = [];
globalThis.Worker = class extends Worker {
  constructor(...settings) {
    super(...settings);
    this.addEventListener("message", ({ data }) => { if (data.type === "audio") kept.push(...data.samples); });
  }
};
"""


@pytest.mark.timed  # a busy machine's fake device drops sound that nobody counts
def test_the_microphone_gives_pythons_answers(playwright, site, recording, heard):
    """Times are those of the sound that came: a device whose host is busy loses or adds some of a pause."""
    complaints, settings = [], {"script": KEEP_SOUND}
    with started(playwright, *playing(recording)) as browser, opened(browser, site, complaints, **settings) as page:
        page.get_by_role("button", name="Start listening").click()
        rows = list(answers(page, len(heard)))
        assert "Listening to Fake" in page.inner_text("#status")
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        assert len(page.query_selector_all("#answers tr")) == len(heard)
        came = np.array(page.evaluate("() => kept"), np.float32)
    assert complaints == []
    assert [row[0] for row in rows] == [event.label for event in heard] == list("0123456789")
    stream = StreamingRecognizer(Recognizer())
    again = [event for event in stream.accept(came) + stream.flush() if event.prediction]
    for (label, _, probability, start_s, end_s), event in zip(rows, again, strict=True):
        assert (label, probability) == (event.label, pytest.approx(event.probability, abs=0.05))
        assert (start_s, end_s) == pytest.approx((event.start_s, event.end_s), abs=0.04)


def test_files_give_pythons_answers(browser, site, samples, recording, heard, tmp_path):
    nonsense = tmp_path / "nonsense.wav"
    nonsense.write_text("no sound")
    complaints, requests = [], []
    with opened(browser, site, complaints) as page:
        assert page.inner_text("header p").startswith("Say a digit. It is recognised")
        page.on("request", lambda request: requests.append(request.url))
        page.set_input_files("#file", [*samples, nonsense, recording])
        rows = list(answers(page, 10 + len(heard)))
        assert page.inner_text("#failure") == (
            "nonsense.wav is no audio file that this browser can read: convert it to WAV."
        )
        assert page.inner_text("#status") == f"ten.wav: 10 words: {' '.join('0123456789')}."
        assert re.fullmatch(r"9, \d+\.\d %", page.text_content("#announcement"))
        nexts = page.eval_on_selector_all(
            "#answers tr", "rows => rows.map((row) => row.cells[5].textContent).reverse()"
        )
    assert complaints == []
    assert all(url.startswith(site) for url in requests)
    expected = Recognizer().predict([str(path) for path in samples])
    for (label, _, probability, *_), next_, prediction in zip(rows[:10], nexts[:10], expected, strict=True):
        assert (label, probability) == (prediction.label, pytest.approx(prediction.probability, abs=0.03))
        name, percent = re.fullmatch(r"(\w+), (\d+\.\d) %", next_).groups()
        likely = {"other" if label == NON_DIGIT else label: p for label, p in prediction.probabilities.items()}
        assert name != label and float(percent) == pytest.approx(100 * sorted(likely.values())[-2], abs=3)
        assert 100 * likely[name] == pytest.approx(float(percent), abs=3)
    for (label, _, probability, start_s, end_s), event in zip(rows[10:], heard, strict=True):
        assert (label, probability) == (event.label, pytest.approx(event.probability, abs=0.03))
        assert (start_s, end_s) == pytest.approx((event.start_s, event.end_s), abs=0.006)  # shown with two digits


TALKS = """let refused = false;
addEventListener("securitypolicyviolation", ({ blockedURI }) => { refused = true; tell(`refused: ${blockedURI}`); });
const tell = (line) => postMessage({ type: "error", line });
const unexplained = () => refused || tell("failed otherwise");
fetch("OTHER", { mode: "no-cors" }).then(() => tell("sent"), () => setTimeout(unexplained, 500));
"""


def test_the_worker_that_has_the_sound_can_talk_to_its_own_server_alone(browser, tmp_path):
    talking = tmp_path / "recognizer.worker.js"
    files = site_files() | {talking.name: talking}
    with serving({}) as (other, _), serving(files) as (url, _):
        talking.write_text(TALKS.replace("OTHER", f"{other}app.js"))
        with opened(browser, url, []) as page:
            assert page.inner_text("#failure") == f"refused: {other}app.js"


def test_of_several_files_each_leaves_its_line(browser, site, samples, tmp_path):
    (tmp_path / "broken.wav").write_text("no sound")
    write_wav(tmp_path / "silence.wav", np.zeros(24000))
    write_wav(tmp_path / "slow.wav", np.zeros(2000), 2000)
    names = ("broken.wav", "silence.wav", "slow.wav")
    with opened(browser, site, []) as page:
        page.set_input_files("#file", [*(tmp_path / name for name in names), samples[3]])
        page.wait_for_selector("#answers tr:nth-child(2)")
        assert page.inner_text("#failure").splitlines() == [
            "broken.wav is no audio file that this browser can read: convert it to WAV.",
            "slow.wav has 2000 Hz, which this browser does not take: convert it to 8000 Hz.",
        ]
        table = page.eval_on_selector_all("#answers tr", "rows => rows.map((row) => row.innerText.split('\t'))")
        assert table[1] == ["–", "–", "0.00–3.00", "–", "silence.wav", "–", "no word found"]
        page.set_input_files("#file", samples[4])
        page.wait_for_selector("#answers tr:nth-child(3)")
        assert page.inner_text("#failure") == ""


DROP = """(files) => {
  const event = new Event("drop", { bubbles: true, cancelable: true });
  const unreadable = (name) => {
    const file = new File([], name);
    file.arrayBuffer = async () => { throw new DOMException("not found", "NotFoundError"); };
    return file;
  };
  event.dataTransfer = { files: files.map(unreadable) };
  document.body.dispatchEvent(event);
}"""


def test_what_is_dropped_and_no_file_stops_nothing_and_a_folder_is_called_one(browser_that_hears, site):
    with opened(browser_that_hears, site, []) as page:
        start_listening(page)
        page.evaluate(DROP, [])
        page.wait_for_timeout(300)
        assert page.inner_text("#listen") == "Stop" and "Listening to" in page.inner_text("#status")
        page.evaluate(DROP, ["clips"])
        page.wait_for_selector("#failure:not(:empty)")
        line = "clips cannot be read: choose a file that is still there, and no folder."
        assert page.inner_text("#failure") == line and page.inner_text("#listen") == "Start listening"


@pytest.mark.parametrize("name", ["", "index.html"])
def test_once_loaded_it_works_without_its_server(browser, samples, name):
    complaints = []
    with serving(site_files()) as (url, server), opened(browser, url + name, complaints) as page:
        page.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        page.wait_for_function("() => navigator.serviceWorker.controller")
        server.shutdown()
        server.server_close()
        page.reload()
        page.wait_for_selector(LOADED, timeout=60_000)
        page.set_input_files("#file", samples[7])
        assert [row[0] for row in answers(page, 1)] == ["7"]


def test_without_a_service_worker_it_needs_its_server(browser):
    """Else the tests without a server prove nothing."""
    alone = {"service_workers": "block"}
    with serving(site_files()) as (url, server), opened(browser, url, [], **alone) as page:
        server.shutdown()
        server.server_close()
        with pytest.raises(Error, match="ERR_CONNECTION_REFUSED"):
            page.reload()


LOOK_INTO_STORE = """(sizes) => {
  const look = async () => {
    const stored = await Promise.all(Object.keys(sizes).map((name) => caches.match(name)));
    const contents = await Promise.all(stored.map((response) => response?.blob()));
    globalThis.areStored = Object.values(sizes).every((size, i) => contents[i]?.size === size);
    if (!areStored) setTimeout(look, 100);
  };
  look();
}"""


@pytest.mark.parametrize("has_room", [True, False], ids=["room", "no room"])
def test_another_model_is_shown_at_once_and_kept_whole_or_not_at_all(browser, has_room):
    """Where its manifest would fit and the model not, either is opened without the network, and no mixture of both."""
    models = [artifacts_dir() / name for name in ("model_int8.onnx", "model.onnx")]
    files = site_files(models[0])
    with serving(files) as (url, server), opened(browser, url, []) as page:
        page.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        page.wait_for_function("() => navigator.serviceWorker.controller")
        if not has_room:
            used = page.evaluate("() => navigator.storage.estimate().then(({ usage }) => usage)")
            quota = {"origin": url.rstrip("/"), "quotaSize": used + 100_000}
            page.context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", quota)
        files |= site_files(models[1])
        sizes = {name: files[name].stat().st_size for name in ("model/manifest.json", "model/model.onnx")}
        shown = []
        for is_open in (True, False):
            if not is_open:
                server.shutdown()
                server.server_close()
            page.reload()
            page.wait_for_selector(LOADED, timeout=60_000)
            assert page.inner_text("#failure") == ""
            shown.append(re.search(r"\((.+?)\)", page.inner_text("#model"))[1])
            if is_open and has_room:  # what is stored is stored behind the page's back
                page.evaluate(LOOK_INTO_STORE, sizes)
                page.wait_for_function("() => globalThis.areStored", timeout=60_000)
            elif is_open:
                page.wait_for_timeout(1000)  # what would be
        assert shown[0] == models[1].name
        assert shown[1] in [model.name for model in models[has_room:]]  # other files, stored anew, may have made room


def without(pattern):
    return lambda page: page.route(pattern, lambda route: route.fulfill(status=404))


def with_manifest(**changes):
    """A page whose model's manifest says something else."""
    manifest = read_manifest(default_model()) | changes
    return lambda page: page.route("**/model/manifest.json", lambda route: route.fulfill(json=manifest))


@pytest.mark.parametrize(
    ("before", "line"),
    [
        (
            without("**/vendor/*simd*.wasm"),
            "vendor/ort-wasm-simd-threaded.wasm is missing: open the page with python -m",
        ),
        (without("**/vendor/fvad.js"), "vendor/fvad.js is missing: open the page with python -m edgedigit.serve"),
        (without("**/model/model.onnx"), "model/model.onnx is missing"),
        (
            with_manifest(labels=["yes", "no"]),
            f"{default_model().name} gives {N_LABELS} probabilities for the 2 labels of its manifest.",
        ),
        (with_manifest(sha256="0" * 64), f"{default_model().name} is not the file that its manifest describes"),
        (with_manifest(signal={"kind": "emg"}), "This model takes emg, not sound"),
        (
            lambda page: page.route("**/model/manifest.json", lambda route: route.fulfill(body='{"thresholds": NaN}')),
            "The model's manifest is no JSON: run export_models.py again.",
        ),
    ],
)
def test_what_is_missing_or_wrong_costs_one_clear_line(browser, site, before, line):
    with opened(browser, site, [], before, service_workers="block") as page:
        assert page.inner_text("#failure").startswith(line)
        assert page.is_disabled("#listen") and page.is_disabled("#file")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "No microphone was found: connect one, or drop an audio file here."),
        (
            (FAKE_DEVICE,),
            "The microphone was refused: allow it in the browser's address bar and press Start again.",
        ),
    ],
)
def test_no_microphone_costs_one_clear_line_and_nothing_else(playwright, site, samples, arguments, line):
    complaints = []
    with started(playwright, *arguments) as browser, opened(browser, site, complaints) as page:
        page.click("#listen")
        page.wait_for_selector("#failure:not(:empty)")
        assert page.inner_text("#failure") == line
        page.set_input_files("#file", samples[3])
        assert [row[0] for row in answers(page, 1)] == ["3"]
    assert complaints == []


KEEP_TRACK = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const media = await open(wanted);
  [globalThis.track] = media.getAudioTracks();
  return media;
};
"""


def test_an_unplugged_microphone_is_said_and_the_next_start_listens_again(browser_that_hears, site):
    complaints = []
    with opened(browser_that_hears, site, complaints, script=KEEP_TRACK) as page:
        start_listening(page)
        page.evaluate("() => track.dispatchEvent(new Event('ended'))")  # what browsers do when a device goes
        page.wait_for_selector("#failure:not(:empty)")
        assert page.inner_text("#failure") == "The microphone is gone: connect it or allow it, then press Start."
        page.get_by_role("button", name="Start listening").click()
        page.get_by_text("Listening to").wait_for()
        assert page.inner_text("#failure") == ""
    assert complaints == []


KEEP_ALL = (
    KEEP_TRACK
    + """
globalThis.contexts = [];
globalThis.AudioContext = class extends AudioContext {
  constructor(...settings) {
    super(...settings);
    contexts.push(this);
  }
  createMediaStreamSource(media) {
    this.connectedS = this.currentTime;
    return super.createMediaStreamSource(media);
  }
};
"""
)
WHAT_IS_OPEN = "() => [track.readyState, ...contexts.map((context) => context.state)]"
PREPARATIONS = {
    "context": "globalThis.AudioContext = class { constructor() { throw new Error('no output'); } };",
    "worklet": "AudioWorklet.prototype.addModule = async () => { throw new Error('no worklet'); };",
    "resume": "AudioContext.prototype.resume = async () => { throw new Error('no clock'); };",
}


@pytest.mark.parametrize("step", PREPARATIONS)
def test_a_microphone_that_cannot_be_prepared_is_closed_again(browser_that_hears, site, step):
    with opened(browser_that_hears, site, [], script=KEEP_ALL + PREPARATIONS[step]) as page:
        page.click("#listen")
        page.wait_for_selector("#failure:not(:empty)")
        assert "no " in page.inner_text("#failure")
        assert page.evaluate(WHAT_IS_OPEN) == ["ended"] + ["closed"] * (step != "context")
        assert page.inner_text("#listen") == "Start listening"


def test_a_microphone_that_goes_while_it_is_prepared_is_said(browser_that_hears, site):
    complaints = []
    script = KEEP_ALL + "AudioContext.prototype.resume = () => new Promise(() => {});"
    with opened(browser_that_hears, site, complaints, script=script) as page:
        page.click("#listen")
        page.wait_for_function("() => globalThis.contexts.length")
        page.evaluate("() => track.dispatchEvent(new Event('ended'))")
        page.wait_for_selector("#failure:not(:empty)")
        assert page.inner_text("#failure") == "The microphone is gone: connect it or allow it, then press Start."
        assert page.evaluate(WHAT_IS_OPEN) == ["ended", "closed"]
        assert page.inner_text("#listen") == "Start listening"
    assert complaints == []


def test_what_was_loaded_is_not_fetched_again(browser, site, recording, heard):
    """A server that has gone since costs nothing."""
    with opened(browser, site, [], service_workers="block") as page:
        page.context.route("**/*", lambda route: route.abort())
        page.set_input_files("#file", recording)
        assert [row[0] for row in answers(page, len(heard))] == [event.label for event in heard]
        assert page.inner_text("#failure") == ""


MADE_ONCE = """
let nMade = 0;
export default async (options) => {
  if (nMade++) throw new Error("no memory");
  return make(options);
};
"""


def test_a_microphone_that_nothing_listens_to_is_closed_again(browser_that_hears, site):
    """The detector can be made when the page loads, and not again."""

    def break_later(page):
        page.add_init_script(KEEP_ALL)
        code = urllib.request.urlopen(f"{site}vendor/fvad.js").read().decode().replace("export default", "const make =")
        page.route("**/vendor/fvad.js", lambda route: route.fulfill(response=route.fetch(), body=code + MADE_ONCE))

    with opened(browser_that_hears, site, [], break_later, service_workers="block") as page:
        page.click("#listen")
        page.wait_for_selector("#failure:not(:empty)")
        assert page.inner_text("#failure") == "Something in the page is broken: no memory"
        assert page.evaluate(WHAT_IS_OPEN) == ["ended", "closed"]
        assert page.inner_text("#listen") == "Start listening" and page.inner_text("#status") == "Stopped."


HOLD_TIMERS = "globalThis.due = []; globalThis.setTimeout = (act) => due.push(act);"


@pytest.mark.parametrize("returns", [True, False], ids=["returns", "does not return"])
def test_sound_that_the_browser_halts_returns_or_is_said(browser_that_hears, site, returns):
    """However long a busy machine takes to go on: the page's second ends once the sound is back."""
    complaints, script = [], KEEP_ALL + HOLD_TIMERS * returns
    with opened(browser_that_hears, site, complaints, script=script) as page:
        start_listening(page)
        if not returns:
            page.evaluate("() => { contexts[0].resume = () => new Promise(() => {}); }")
        page.evaluate("() => contexts[0].suspend()")
        if returns:
            page.wait_for_function("() => due.length && contexts[0].state === 'running'")
            page.evaluate("() => due.forEach((act) => act())")
            assert page.evaluate(WHAT_IS_OPEN) == ["live", "running"]
            assert page.inner_text("#failure") == "" and page.inner_text("#listen") == "Stop"
        else:
            page.wait_for_selector("#failure:not(:empty)")
            assert page.inner_text("#failure").startswith("The browser has halted the sound: close what else uses")
            assert page.evaluate(WHAT_IS_OPEN) == ["ended", "closed"]
            assert page.inner_text("#listen") == "Start listening"
    assert complaints == []


HOLD_UP = """async () => {
  const { openMicrophone } = await import("./microphone.js");
  globalThis.microphone = await openMicrophone(() => {});
  globalThis.blocks = [];
  microphone.port.onmessage = ({ data }) => blocks.push({ ...data, atS: contexts[0].currentTime });
}"""
IS_FULL = "() => blocks.length === Math.floor(5 * microphone.sampleRate / blocks[0]?.samples.length)"
GO_ON = """() => {
  const { currentTime: onS, connectedS } = contexts[0];
  for (const { samples } of blocks) microphone.port.postMessage(samples.length);
  return [blocks.length, onS, connectedS];
}"""
QUANTUM = 128  # samples that an audio thread makes at once, before its clock shows them


def test_what_waits_for_a_slow_recogniser_is_bounded_and_the_rest_is_counted(browser_that_hears, site):
    with opened(browser_that_hears, site, [], script=KEEP_ALL) as page:
        page.evaluate(HOLD_UP)
        page.wait_for_function(IS_FULL, timeout=60_000)
        page.wait_for_function("() => contexts[0].currentTime > blocks.at(-1).atS + 1.5", timeout=60_000)
        n_held, on_s, connected_s = page.evaluate(GO_ON)
        page.wait_for_function("(nHeld) => blocks.length > nHeld", arg=n_held, timeout=60_000)
        rate = page.evaluate("() => microphone.sampleRate")
        blocks = page.evaluate("() => blocks.map(({ samples, lost, atS }) => [samples.length, lost, atS])")
    (size, _, full_s), (_, lost, next_s) = blocks[n_held - 1 : n_held + 1]
    assert n_held == 5 * rate // size and not any(before for _, before, _ in blocks[:n_held])
    assert lost >= (on_s - full_s) * rate - size - QUANTUM
    assert (n_held + 1) * size + lost <= (next_s - connected_s) * rate + QUANTUM


LISTEN_TO_BLOCKS = """async ([blocks, sampleRate]) => {
  const worker = new Worker("recognizer.worker.js", { type: "module" });
  const messages = [];
  const until = (type) => new Promise((resolve) => {
    worker.onmessage = ({ data }) => {
      messages.push(data);
      if (data.type === type) resolve();
    };
  });
  worker.postMessage({ type: "load" });
  await until("loaded");
  const { port1, port2 } = new MessageChannel();
  let nHeard = 0;
  const heard = new Promise((resolve) => {
    port1.onmessage = ({ data }) => {
      nHeard += data;
      if (nHeard === blocks.reduce((sum, { samples }) => sum + samples.length, 0)) resolve();
    };
  });
  worker.postMessage({ type: "listen", port: port2, sampleRate }, [port2]);
  const stopped = until("stopped");
  for (const { samples, lost, waitedMs } of blocks) {
    port1.postMessage({ samples: Float32Array.from(samples), lost, sentMs: Date.now() - waitedMs });
  }
  await heard;
  worker.postMessage({ type: "stop" });
  await stopped;
  worker.terminate();
  return {
    events: messages.filter(({ event }) => event?.prediction).map(({ event }) => event),
    lostS: messages.filter(({ type }) => type === "lost").map(({ lostS }) => lostS),
    kinds: messages.map(({ type }) => type),
    errors: messages.filter(({ type }) => type === "error").map(({ line }) => line),
  };
}"""


IN_TIME = -60_000  # sent at once and nonetheless on time: as by a clock that was set back


def test_sound_that_was_lost_moves_no_times_and_waiting_counts_as_latency(browser, site, recording, heard):
    """The first 0.3 s are lost, and 1.5 s between two words, after which all blocks have waited for half a minute."""
    waveform = load_waveform(recording)
    cut = round(8000 * (heard[4].end_s + heard[5].start_s) / 2) // 400 * 400
    blocks = [
        {"samples": waveform[i : i + 400].tolist(), "lost": 0, "waitedMs": 30_000 if i >= cut else IN_TIME}
        for i in range(2400, waveform.size // 400 * 400, 400)
    ]
    blocks[0]["lost"] = 2400
    next(block for block in blocks if block["waitedMs"] > 0)["lost"] = 12000  # on top of what is heard
    with opened(browser, site, []) as page:
        got = page.evaluate(LISTEN_TO_BLOCKS, [blocks, 8000])
    assert got["errors"] == [] and got["lostS"] == pytest.approx([0.3, 1.8])
    assert [event["prediction"]["label"] for event in got["events"]] == [event.label for event in heard]
    last_loss = len(got["kinds"]) - got["kinds"][::-1].index("lost")
    assert "partial" in got["kinds"][:last_loss] and "partial" not in got["kinds"][last_loss:]  # who is late skips them
    for number, (mine, theirs) in enumerate(zip(got["events"], heard, strict=True)):
        moved_s = 1.5 if number > 4 else 0
        assert mine["startS"] - moved_s == pytest.approx(theirs.start_s, abs=0.03)
        assert (mine["latencyMs"] > 30_000) == (number > 4)


LOSES = """onmessage = ({ data }) => {
  const info = { file: "m", version: "1", labels: ["yes", "no"], sampleRate: 8000, rejectBelow: 0 };
  if (data.type === "load") postMessage({ type: "loaded", info });
  if (data.type === "listen") postMessage({ type: "lost", lostS: 1.25 });
};"""


def test_lost_sound_is_said_beside_the_microphone(browser_that_hears, site):
    def lose(page):
        page.route("**/recognizer.worker.js", lambda route: route.fulfill(response=route.fetch(), body=LOSES))

    with opened(browser_that_hears, site, [], lose, service_workers="block") as page:
        page.click("#listen")
        page.get_by_text("This computer does not keep up: 1.3 s of sound lost.").wait_for()
        assert page.inner_text("#status").startswith("Listening to Fake")


def test_a_model_of_other_words_is_shown_with_its_words(browser, site, samples):
    words = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "_unknown_", "go"][:N_LABELS]
    with opened(browser, site, [], with_manifest(labels=words), service_workers="block") as page:
        assert f"{' '.join(words).replace('_unknown_', 'other')}." in page.inner_text("#model")
        named = [word for word in words if word != "_unknown_"]
        assert page.inner_text("header p").startswith(f"Say {', '.join(named[:-1])} or {named[-1]}. It is recognised")
        page.set_input_files("#file", [samples[1], samples[9]])
        assert [row[:2] for row in answers(page, 2)] == [("no", "no"), ("", "_unknown_")]
        assert page.inner_text("#answer") == "–"


def test_the_keyboard_reaches_everything_in_order(browser_that_hears, site):
    with opened(browser_that_hears, site, []) as page:
        reached = []
        for _ in range(4):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
        assert reached == ["listen", "file", "clear", "scroll"]
        page.focus("#listen")
        page.keyboard.press("Space")
        page.get_by_role("button", name="Stop").wait_for()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Start listening").wait_for()


COUNT_SOUND = """
globalThis.nHeard = 0;
globalThis.Worker = class extends Worker {
  constructor(...settings) {
    super(...settings);
    this.addEventListener("message", ({ data }) => { if (data.type === "audio") nHeard += data.samples.length; });
  }
};
"""
DRAWN = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve())))"


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_pictures_move_only_for_those_who_like_it(browser_that_hears, site, motion):
    settings = {"script": COUNT_SOUND, "reduced_motion": motion}
    with opened(browser_that_hears, site, [], **settings) as page:
        picture = "() => document.getElementById('waveform').toDataURL()"
        before = page.evaluate(picture)
        page.click("#listen")
        page.wait_for_function("() => nHeard >= 12000")
        page.evaluate(DRAWN)
        assert (page.evaluate(picture) != before) == (motion == "no-preference")


LABEL_ON_NOISE = """async () => {
  const [{ History }, { drawSpectrogram }] = await Promise.all([import("./history.js"), import("./pictures.js")]);
  const [history, canvas] = [new History(8000, 6), document.getElementById("spectrogram")];
  for (let i = 0; i < 60; i++) history.push(Float32Array.from({ length: 800 }, () => Math.random() - 0.5), true);
  drawSpectrogram(canvas, history);
  const colours = (x, y, width, height) => {
    const { data } = canvas.getContext("2d").getImageData(x, y, width, height);
    return Array.from({ length: width * height }, (_, i) => [...data.subarray(4 * i, 4 * i + 3)].join());
  };
  const ground = getComputedStyle(document.querySelector("figure")).backgroundColor.match(/\\d+/g).join();
  const edge = [...colours(0, 0, 4, 19), ...colours(0, 0, 40, 3)];
  return [edge.every((colour) => colour === ground), new Set(colours(100, 20, 300, 50)).size > 10];
}"""


def test_the_label_on_the_spectrogram_has_a_ground_of_its_own(browser, site):
    with opened(browser, site, []) as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(LABEL_ON_NOISE) == [True, True], scheme


def test_nothing_is_cut_off_sideways(browser, site):
    with opened(browser, site, []) as page:
        for width in (1200, 380):
            page.set_viewport_size({"width": width, "height": 800})
            cut_off = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(cut_off) == 0, width
