/**
 * Listens apart from the page, so that drawing never delays an answer. Messages in: `load`; `listen` with a port of
 * blocks, as capture.worklet.js sends them, and their rate; `stop`; `file` with samples and their rate. Out: `loaded`,
 * `audio` (8 kHz, for drawing), `partial`, `event`, `lost` (seconds since `listen`), `file`, `stopped`, `error`, and
 * `deaf`, an error after which nothing listens.
 */

import { loadDetector, loadRecognizer, openStream } from "./load.js";
import { PageError } from "./manifest.js";
import { concatenate, StreamResampler } from "./resampler.js";

const MAX_WORD_S = 1.5; // a longer recording is searched for words, as infer.py does
const FILE_BLOCK_S = 0.1;

let recognizer = null;
let createDetector = null;
let port = null;
let stream = null;
let lostS = 0; // of sound, since listening began
let work = Promise.resolve();

/** One thing after the other: an answer takes a moment, and the blocks after it must wait. */
function queue(task, failure = "error") {
  work = work.then(task).catch((error) => {
    const line = error instanceof PageError ? error.message : `Something in the page is broken: ${error.message}`;
    postMessage({ type: failure, line });
  });
}

const handlers = {
  async load() {
    recognizer = await loadRecognizer();
    createDetector = await loadDetector(recognizer.info);
    postMessage({ type: "loaded", info: recognizer.info });
  },

  async listen({ port: blocks, sampleRate }) {
    stream = await openStream(recognizer, createDetector, sampleRate);
    const display = new Display(sampleRate);
    lostS = 0;
    port = blocks;
    port.onmessage = ({ data }) => queue(() => receive(data, blocks, display));
  },

  async stop() {
    if (port) port.onmessage = null;
    port = null;
    if (stream) postEvents(await stream.flush());
    stream = null;
    postMessage({ type: "stopped" });
  },

  async file({ name, samples, sampleRate }) {
    const durationS = samples.length / sampleRate;
    const rate = recognizer.info.sampleRate;
    if (durationS <= MAX_WORD_S) {
      const waveform = resampled(samples, sampleRate, rate);
      const prediction = await recognizer.predict(waveform);
      const kind = prediction.rejected ? "rejected" : "digit";
      const event = { kind, timeS: durationS, startS: 0, endS: durationS, prediction };
      postMessage({ type: "audio", samples: waveform, speaking: true });
      postMessage({ type: "file", name, durationS, events: [event] });
      return;
    }
    const fileStream = await openStream(recognizer, createDetector, sampleRate);
    const display = new Display(sampleRate);
    const block = Math.round(FILE_BLOCK_S * sampleRate);
    const events = [];
    for (let start = 0; start < samples.length; start += block) {
      const samplesNow = samples.subarray(start, start + block);
      events.push(...(await fileStream.accept(samplesNow)));
      display.show(samplesNow, fileStream.word.length > 0);
    }
    events.push(...(await fileStream.flush()));
    postMessage({ type: "file", name, durationS, events });
  },
};

onmessage = ({ data }) => queue(() => handlers[data.type](data), data.type === "listen" ? "deaf" : "error");

/** A block, and silence for what was lost before it, so that times stay those of the microphone. */
async function receive({ samples, lost, sentMs }, blocks, display) {
  if (!stream) return;
  try {
    if (lost) {
      lostS += lost / display.sampleRate;
      postMessage({ type: "lost", lostS });
    }
    for (let left = lost; left > 0; left -= samples.length) {
      await hear(new Float32Array(Math.min(left, samples.length)), sentMs, display);
    }
    await hear(samples, sentMs, display);
  } finally {
    blocks.postMessage(samples.length); // heard, whatever came of it
  }
}

async function hear(samples, sentMs, display) {
  const waitedMs = Math.max(0, Date.now() - sentMs); // a clock may be set back
  const events = await stream.accept(samples, waitedMs);
  const speaking = stream.word.length > 0;
  display.show(samples, speaking); // first, so that events are marked on the sound that they are about
  postEvents(events);
  const isLate = waitedMs > recognizer.info.vad.partial_ms; // then answers are waited for, not what lies between
  const isOpen = speaking && !stream.answered; // the answer stays to be seen while its word fades
  if (isOpen && !isLate && display.isPartialDue()) postMessage({ type: "partial", prediction: await stream.partial() });
}

function postEvents(events) {
  for (const event of events) postMessage({ type: "event", event });
}

function resampled(samples, from, to) {
  const resampler = new StreamResampler(from, to);
  return concatenate([resampler.push(samples), resampler.flush()]);
}

/** What is drawn: the sound at the model's rate, and whether it is taken for speech. */
class Display {
  constructor(sampleRate) {
    this.resampler = new StreamResampler(sampleRate, recognizer.info.sampleRate);
    this.sampleRate = sampleRate;
    this.sincePartialS = 0;
  }

  show(samples, speaking) {
    this.sincePartialS += samples.length / this.sampleRate;
    const shown = this.resampler.push(samples);
    if (shown.length) postMessage({ type: "audio", samples: shown, speaking });
  }

  isPartialDue() {
    if (1000 * this.sincePartialS < recognizer.info.vad.partial_ms) return false;
    this.sincePartialS = 0;
    return true;
  }
}
