/** The page's pure parts, by node's own test runner: `node --test tests/web/pure.test.js`. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { meanOf, wavRate } from "../../web/audio_file.js";
import { DEFAULT_VAD, framesIn } from "../../web/activity.js";
import { Backlog } from "../../web/backlog.js";
import { History } from "../../web/history.js";
import { nameOf, PageError, readManifest, taskOf } from "../../web/manifest.js";
import { colourRamp } from "../../web/pictures.js";
import { StreamResampler } from "../../web/resampler.js";
import { fft, powerDb, Spectrogram } from "../../web/spectrum.js";
import { padMirrored } from "../../web/window.js";

const sine = (frequency, n, rate) =>
  Float32Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * frequency * i) / rate));

const MANIFEST = {
  file: "model.onnx",
  sha256: "0".repeat(64),
  labels: ["yes", "no", "_unknown_"],
  sample_rate: 8000,
  n_samples: 8000,
  version: "1",
  thresholds: { reject_below: 0.5, vad: { early_ms: 70 } },
};

test("a manifest gives labels and thresholds, and defaults for those that it leaves out", () => {
  const info = readManifest(MANIFEST);
  assert.deepEqual(info.labels, ["yes", "no", "_unknown_"]);
  assert.equal(info.rejectBelow, 0.5);
  assert.deepEqual(info.vad, { ...DEFAULT_VAD, early_ms: 70 });
  assert.equal(nameOf("_unknown_"), "other");
});

test("what is to be said follows from the labels", () => {
  const digits = [..."0123456789"];
  assert.equal(taskOf([...digits, "_unknown_"]), "Say a digit.");
  assert.equal(taskOf(["door", ...digits, "light", "_unknown_"]), "Say a digit, door or light.");
  assert.equal(taskOf(["3", "yes"]), "Say 3 or yes.");
});

for (const [what, change, says] of [
  ["another signal", { signal: { kind: "emg" } }, /takes emg/],
  ["no labels", { labels: undefined }, /incomplete/],
  ["one label", { labels: ["yes"] }, /incomplete/],
  ["no rate", { sample_rate: "fast" }, /incomplete/],
  ["no thresholds", { thresholds: null }, /incomplete/],
  ["a probability that is no number", { thresholds: { reject_below: "0.5" } }, /reject_below is 0.5/],
  ["no probability in its place", { thresholds: { reject_below: null } }, /reject_below is null/],
  ["no thresholds of endpointing in their place", { thresholds: { vad: null } }, /vad is null/],
  ["an unknown threshold", { thresholds: { vad: { patience: 3 } } }, /patience/],
  ["a threshold that is no number", { thresholds: { vad: { gate_db: "high" } } }, /gate_db is high/],
  ["another detector", { thresholds: { vad: { detector: "silero" } } }, /detector silero/],
  ["frames that the detector does not take", { thresholds: { vad: { frame_ms: 15 } } }, /frame_ms is 15/],
]) {
  test(`a manifest with ${what} costs one clear line`, () => {
    assert.throws(
      () => readManifest({ ...MANIFEST, ...change }),
      (error) => error instanceof PageError && says.test(error.message) && !error.message.includes("\n"),
    );
  });
}

test("durations become whole frames, halves to the even one, at least one", () => {
  assert.deepEqual(
    [1, 25, 35, 44, 100].map((duration) => framesIn(duration, DEFAULT_VAD)),
    [1, 2, 4, 4, 10],
  );
});

test("five seconds may wait; then all is lost, and counted, until the listener has caught up", () => {
  const backlog = new Backlog(8000);
  const offers = (n) => Array.from({ length: n }, () => backlog.offer(800));
  assert.deepEqual(offers(52), [...Array(50).fill(0), null, null]);
  backlog.acknowledge(49 * 800);
  assert.deepEqual(offers(1), [null]);
  backlog.acknowledge(800);
  assert.deepEqual(offers(3), [3 * 800, 0, 0]);
});

test("a listener that keeps up loses nothing", () => {
  const backlog = new Backlog(8000);
  for (let i = 0; i < 1000; i++) {
    assert.equal(backlog.offer(512), 0);
    if (i > 20) backlog.acknowledge(512);
  }
});

test("resampling keeps a tone, its level and its time, and removes what would alias", () => {
  const resampler = new StreamResampler(48000, 8000);
  const tone = resampler.push(sine(1000, 48000, 48000));
  const expected = sine(1000, tone.length, 8000);
  for (let i = 200; i < tone.length; i++) assert.ok(Math.abs(tone[i] - expected[i]) < 1e-3);
  const alias = new StreamResampler(48000, 8000).push(sine(5000, 48000, 48000)).subarray(200);
  assert.ok(alias.every((sample) => Math.abs(sample) < 1e-3));
  assert.throws(() => new StreamResampler(0, 8000), RangeError);
});

for (const rate of [44101, 383993]) {
  test(`resampling from ${rate} Hz, which shares no divisor with 8 kHz, takes no more memory and keeps a tone`, () => {
    const resampler = new StreamResampler(rate, 8000);
    assert.ok(resampler.filters.length * resampler.filters[0].length <= 2 ** 18);
    const tone = resampler.push(sine(1000, rate, rate));
    const expected = sine(1000, tone.length, 8000);
    for (let i = 200; i < tone.length; i++) assert.ok(Math.abs(tone[i] - expected[i]) < 1e-3);
  });
}

test("mirroring goes back and forth as often as needed", () => {
  assert.deepEqual([...padMirrored(Float32Array.of(1, 2), 5, 3)], [1, 1, 2, 2, 1, 1, 2, 2, 1, 1]);
});

test("the transform equals its definition", () => {
  const signal = Float64Array.from({ length: 16 }, (_, i) => Math.cos(i * i));
  const { real, imaginary } = fft(signal);
  for (let k = 0; k < 16; k++) {
    const angle = (i) => (2 * Math.PI * i * k) / 16;
    assert.ok(Math.abs(real[k] - signal.reduce((sum, x, i) => sum + x * Math.cos(angle(i)), 0)) < 1e-12);
    assert.ok(Math.abs(imaginary[k] + signal.reduce((sum, x, i) => sum + x * Math.sin(angle(i)), 0)) < 1e-12);
  }
});

test("a full-scale sine has 0 dB in its bin", () => {
  const [spectrum] = new Spectrogram(256, 256).push(sine(1000, 256, 8000));
  assert.equal(spectrum.indexOf(Math.max(...spectrum)), 32);
  assert.ok(Math.abs(spectrum[32]) < 0.1);
  assert.ok(powerDb(new Float64Array(256)).every((db) => db === -120));
});

test("the history is bounded and forgets words with their sound", () => {
  const history = new History(8000, 1);
  history.push(sine(100, 4000, 8000), true);
  history.mark("7", 0.3, 0.1);
  assert.deepEqual(history.words, [{ text: "7", start: 20, end: 40 }]);
  for (let i = 0; i < 20; i++) history.push(new Float32Array(777), false);
  assert.equal(history.columns.length, 100);
  assert.equal(history.words.length, 0);
  assert.ok(history.pending.length < 80);
});

test("a WAV header tells its rate, and other files none", () => {
  const bytes = new ArrayBuffer(60);
  const view = new DataView(bytes);
  const write = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  write(8, "WAVE");
  write(12, "LIST"); // some programs write others first, odd ones with a byte of padding
  view.setUint32(16, 3, true);
  write(24, "fmt ");
  view.setUint32(36, 11025, true);
  assert.equal(wavRate(bytes), 11025);
  write(24, "data");
  assert.equal(wavRate(bytes), null);
  assert.equal(wavRate(new ArrayBuffer(3)), null);
});

test("channels are averaged", () => {
  assert.deepEqual([...meanOf([Float32Array.of(1, 0), Float32Array.of(0, -1)])], [0.5, -0.5]);
});

test("colours go evenly through their stops", () => {
  const ramp = colourRamp(["#000000", "#ff0000", "#ffffff"]);
  const rgba = (i) => [...new Uint8Array(ramp.buffer, 4 * i, 4)];
  assert.equal(ramp.length, 256);
  assert.deepEqual(rgba(0), [0, 0, 0, 255]);
  assert.deepEqual(rgba(255), [255, 255, 255, 255]);
  assert.equal(rgba(64)[0], 128);
});
