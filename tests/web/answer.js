/**
 * Runs parts of the page on what standard input asks for, so that tests can set them beside Python's: a JSON object
 * {task, ...} in, a JSON value out. WebRTC's detector and the network are stood in for by the same rules on both sides.
 */

import { readFileSync } from "node:fs";

import { DEFAULT_VAD, isVoiced, SpeechActivity } from "../../web/activity.js";
import { PageError, readVad } from "../../web/manifest.js";
import { StreamResampler } from "../../web/resampler.js";
import { StreamingRecognizer } from "../../web/stream.js";
import { fixLength } from "../../web/window.js";

const RATE = 8000;
const webrtc = { reset() {}, isSpeech: (pcm) => pcm.some((sample) => Math.abs(sample) > 300) };

/** A network of one rule: the label counts the sign changes, and every other answer is unsure; a steady one is sure. */
function recognizer(windows, vad, labels, isSteady) {
  return {
    info: { sampleRate: RATE, nSamples: RATE, vad, labels },
    async predict(waveform) {
      const window = fixLength(waveform, RATE, RATE);
      windows.push([...window]);
      let changes = 0;
      for (let i = 1; i < window.length; i++) changes += window[i] > 0 !== window[i - 1] > 0;
      if (isSteady) return { label: String(Math.floor(changes / 2000) % 10), probability: 0.95, rejected: false };
      return { label: String(changes % 10), probability: windows.length % 2 ? 0.95 : 0.5, rejected: changes % 7 === 0 };
    },
  };
}

const blocksOf = (samples, block) => {
  const starts = Array.from({ length: Math.ceil(samples.length / block) }, (_, i) => i * block);
  return starts.map((start) => samples.subarray(start, start + block));
};

const lineOf = (values) => {
  try {
    readVad(values);
  } catch (error) {
    if (error instanceof PageError) return error.message;
    throw error;
  }
  return null;
};

const tasks = {
  defaults: () => DEFAULT_VAD,

  thresholds: ({ thresholds }) => thresholds.map(readVad),

  refusals: ({ thresholds }) => thresholds.map(lineOf),

  resample({ samples, from, to, block }) {
    const resampler = new StreamResampler(from, to);
    const pushed = blocksOf(Float32Array.from(samples), block).flatMap((part) => [...resampler.push(part)]);
    return [...pushed, ...resampler.flush()];
  },

  frames({ samples, thresholds }) {
    const vad = readVad(thresholds);
    const activity = new SpeechActivity(vad, webrtc);
    const judge = (frame) => [activity.isSpeech(frame), isVoiced(frame, vad.voiced_correlation)];
    return blocksOf(Float32Array.from(samples), 80).map(judge);
  },

  windows: ({ clips }) => clips.map((clip) => [...fixLength(Float32Array.from(clip), RATE, RATE)]),

  async stream({ samples, sampleRate, block, thresholds, labels, steady }) {
    performance.now = () => 0; // computing takes no time: latencies are what was waited for
    const windows = [];
    const vad = readVad(thresholds);
    const network = recognizer(windows, vad, labels, steady);
    const stream = new StreamingRecognizer(network, new SpeechActivity(vad, webrtc), sampleRate);
    const events = [];
    for (const part of blocksOf(Float32Array.from(samples), block)) events.push(...(await stream.accept(part)));
    events.push(...(await stream.flush()));
    return { events, windows };
  },
};

const request = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await tasks[request.task](request)));
