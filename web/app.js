/** The page: its buttons, what is written and drawn on it. Recognition runs in recognizer.worker.js. */

import { readAudioFile } from "./audio_file.js";
import { History } from "./history.js";
import { nameOf, PageError, taskOf } from "./manifest.js";
import { openMicrophone } from "./microphone.js";
import { drawProbabilities, drawSpectrogram, drawWaveform } from "./pictures.js";

const SHOWN_S = 6; // of sound, in the pictures
const MICROPHONE = "microphone"; // as a source in the table
const MAX_ROWS = 100; // of the table, so that days of listening need bounded memory

const element = (id) => document.getElementById(id);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

const worker = new Worker(new URL("recognizer.worker.js", import.meta.url), { type: "module" });
let info = null; // of the model, once loaded
let history = null;
let microphone = null;
let listening = ""; // what is said of it
let isOpening = false; // the person is being asked; the button is not disabled, which would take the focus from it
let probabilities = null; // drawn last
let isDrawingDue = false;

const handlers = {
  loaded(message) {
    info = message.info;
    history = new History(info.sampleRate, SHOWN_S);
    element("task").textContent = taskOf(info.labels);
    const words = info.labels.map(nameOf).join(" ");
    element("model").textContent = `Model ${info.version} (${info.file}): ${words}.`;
    element("listen").disabled = element("file").disabled = false;
    element("open").removeAttribute("aria-disabled");
    say("Ready.");
    draw();
  },

  audio({ samples, speaking }) {
    history.push(samples, speaking);
    if (!reducedMotion.matches) drawSoon();
  },

  partial({ prediction }) {
    probabilities = prediction.probabilities;
  },

  event({ event }) {
    if (!event.prediction) return;
    history.mark(textOf(event), event.timeS - event.startS, event.timeS - event.endS);
    show(event, MICROPHONE);
    drawSoon();
  },

  file({ name, durationS, events }) {
    const words = events.filter((event) => event.prediction);
    for (const event of words) {
      history.mark(textOf(event), durationS - event.startS, durationS - event.endS);
      show(event, name);
    }
    if (!words.length) addRow(["–", "–", `0.00–${durationS.toFixed(2)}`, "–", name, "–", "no word found"]);
    const count = words.length === 1 ? "one word" : `${words.length || "no"} words`;
    say(`${name}: ${count}${words.length ? `: ${words.map(textOf).join(" ")}` : ""}.`);
    drawSoon();
  },

  lost({ lostS }) {
    if (microphone) say(`${listening} This computer does not keep up: ${lostS.toFixed(1)} s of sound lost.`);
  },

  error({ line }) {
    fail(line);
  },

  deaf({ line }) {
    giveUp(line);
  },

  stopped() {
    drawSoon();
  },
};

worker.onmessage = ({ data }) => handlers[data.type](data);
worker.onerror = () => fail("The recogniser cannot be started: use a browser that runs module workers.");
worker.postMessage({ type: "load" });

element("listen").addEventListener("click", () => {
  if (microphone) stopListening();
  else if (!isOpening) startListening();
});
element("file").addEventListener("change", ({ target }) => {
  readFiles([...target.files]);
  target.value = ""; // so that the same file can be chosen again
});
element("clear").addEventListener("click", () => {
  element("answers").replaceChildren();
  element("listen").focus();
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (info) readFiles([...event.dataTransfer.files]);
});
addEventListener("resize", drawSoon);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);

if ("serviceWorker" in navigator) {
  // Without it the page works as long as it is served; private windows refuse it.
  navigator.serviceWorker.register(new URL("sw.js", import.meta.url)).catch(() => {});
}

async function startListening() {
  clearFailure();
  isOpening = true;
  try {
    microphone = await openMicrophone(giveUp);
    const { port, sampleRate, name } = microphone;
    history.clear();
    worker.postMessage({ type: "listen", port, sampleRate }, [port]);
    element("listen").textContent = "Stop";
    listening = `Listening to ${name || "the microphone"} at ${sampleRate} Hz.`;
    say(listening);
  } catch (error) {
    failWith(error);
  }
  isOpening = false;
}

async function stopListening() {
  const opened = microphone;
  microphone = null;
  element("listen").textContent = "Start listening";
  worker.postMessage({ type: "stop" });
  await opened.stop();
  say("Stopped.");
}

/** For a microphone that gives nothing, or that nothing listens to. */
async function giveUp(line) {
  if (microphone) await stopListening();
  fail(line);
}

/** Each in turn; one that cannot be read costs its own line only. */
async function readFiles(files) {
  if (!files.length) return; // text was dropped
  if (microphone) await stopListening();
  clearFailure();
  for (const file of files) {
    try {
      const { samples, sampleRate } = await readAudioFile(file);
      worker.postMessage({ type: "file", name: file.name, samples, sampleRate });
    } catch (error) {
      failWith(error);
    }
  }
}

function textOf(event) {
  return event.kind === "digit" ? event.prediction.label : "–";
}

/** The answer in large, and as a row of the table. */
function show(event, source) {
  const { prediction } = event;
  probabilities = prediction.probabilities;
  const percent = percentOf(prediction.probability);
  element("answer").textContent = textOf(event);
  element("answer").classList.toggle("rejected", event.kind === "rejected");
  element("sureness").textContent = percent;
  element("waited").textContent = source === MICROPHONE ? `${event.latencyMs.toFixed(0)} ms after the word` : source;
  // Read out: only what counts as an answer, in a few words.
  if (event.kind === "digit") element("announcement").textContent = `${prediction.label}, ${percent}`;

  const times = `${event.startS.toFixed(2)}–${event.endS.toFixed(2)}`;
  const latency = source === MICROPHONE ? event.latencyMs.toFixed(0) : "–";
  const note = event.kind === "rejected" ? `not taken for a word (${nameOf(prediction.label)}?)` : "";
  const row = addRow([textOf(event), percent, times, latency, source, nextOf(prediction), note]);
  row.dataset.label = event.kind === "digit" ? prediction.label : "";
  row.dataset.best = prediction.label;
  row.dataset.probability = prediction.probability;
  row.dataset.computeMs = prediction.computeMs;
}

/** The label that came second, and how probable it is. */
function nextOf({ label, probabilities }) {
  const others = info.labels.map((name, i) => ({ name, probability: probabilities[i] })).filter((o) => o.name !== label);
  const next = others.reduce((a, b) => (b.probability > a.probability ? b : a));
  return `${nameOf(next.name)}, ${percentOf(next.probability)}`;
}

function percentOf(probability) {
  return `${(100 * probability).toFixed(1)} %`;
}

/** A row of the table, the newest first. */
function addRow(texts) {
  const row = element("answers").insertRow(0);
  for (const text of texts) row.insertCell().textContent = text;
  while (element("answers").rows.length > MAX_ROWS) element("answers").deleteRow(-1);
  return row;
}

function say(line) {
  element("status").textContent = line;
}

/** A line more, unless it was said already; they go with the next start or file. */
function fail(line) {
  const said = element("failure").textContent.split("\n").filter(Boolean);
  element("failure").textContent = [...new Set([...said, line])].join("\n");
  if (!info) say("");
}

function failWith(error) {
  fail(error instanceof PageError ? error.message : `Something in the page is broken: ${error.message}`);
}

function clearFailure() {
  element("failure").textContent = "";
}

function drawSoon() {
  if (isDrawingDue || !info) return;
  isDrawingDue = true;
  requestAnimationFrame(() => {
    isDrawingDue = false;
    draw();
  });
}

function draw() {
  drawWaveform(element("waveform"), history);
  drawSpectrogram(element("spectrogram"), history);
  drawProbabilities(element("probabilities"), info.labels.map(nameOf), probabilities, info.rejectBelow);
}
