/**
 * Listens apart from the page, so that drawing never delays an answer. Messages in: `load`; `listen` with a port of
 * blocks and their rate; `stop`; `file` with samples and their rate. Out: `loaded`, `audio` (8 kHz, for drawing),
 * `partial`, `event`, `file`, `stopped`, `error`.
 */

import { loadRecognizer, openStream } from "./load.js";
import { PageError } from "./manifest.js";
import { concatenate, StreamResampler } from "./resampler.js";

const MAX_WORD_S = 1.5; // a longer recording is searched for words, as infer.py does
const PARTIAL_EVERY_S = 0.1; // of speech, for the live probabilities
const FILE_BLOCK_S = 0.1;

let recognizer = null;
let port = null;
let stream = null;
let work = Promise.resolve();

/** One thing after the other: an answer takes a moment, and the blocks after it must wait. */
function queue(task) {
  work = work.then(task).catch((error) => {
    const line = error instanceof PageError ? error.message : `Something in the page is broken: ${error.message}`;
    postMessage({ type: "error", line });
  });
}

const handlers = {
  async load() {
    recognizer = await loadRecognizer();
    await openStream(recognizer, recognizer.info.sampleRate); // says now what is missing
    postMessage({ type: "loaded", info: recognizer.info });
  },

  async listen({ port: blocks, sampleRate }) {
    stream = await openStream(recognizer, sampleRate);
    const display = new Display(sampleRate);
    port = blocks;
    port.onmessage = ({ data }) => queue(() => hear(data, display));
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
    const fileStream = await openStream(recognizer, sampleRate);
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

onmessage = ({ data }) => queue(() => handlers[data.type](data));

async function hear(samples, display) {
  if (!stream) return;
  const events = await stream.accept(samples);
  const speaking = stream.word.length > 0;
  display.show(samples, speaking); // first, so that events are marked on the sound that they are about
  postEvents(events);
  if (speaking && display.isPartialDue()) postMessage({ type: "partial", prediction: await stream.partial() });
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
    if (this.sincePartialS < PARTIAL_EVERY_S) return false;
    this.sincePartialS = 0;
    return true;
  }
}
