/** What a model says about itself in its manifest, checked. */

import { DEFAULT_VAD, framesIn } from "./activity.js";

const MAX_THRESHOLD = 1e6; // of any unit, as in edgedigit/runtime/vad.py
const MAX_DB = 200;
const AT_LEAST_A_FRAME = [
  "tail_ms",
  "peak_ms",
  "floor_assumed_ms",
  "mirrored_ms",
  "stable_silence_ms",
  "stable_ms",
  "lasting_ms",
  "rest_ms",
  "running_pause_ms",
  "running_speech_ms",
  "partial_ms",
];
const AT_LEAST_0 = ["pre_roll_ms", "min_speech_ms", "lasting_drop_db", "lasting_above_db", "faded_db", "detector_gain_db"];
const FROM_0_BELOW_1 = ["floor_quantile", "voiced_correlation"];
export const NON_DIGIT = "_unknown_"; // label of whatever is no wanted word; where it wins nothing is answered

/** Something that the person at the page can understand and act upon; its message is one line. */
export class PageError extends Error {}

/**
 * @typedef {object} ModelInfo
 * @property {string} file
 * @property {string} sha256
 * @property {string[]} labels
 * @property {number} sampleRate Hz
 * @property {number} nSamples window of the model
 * @property {string} version
 * @property {number} rejectBelow predictions less probable than this are rejected
 * @property {typeof DEFAULT_VAD} vad thresholds of endpointing
 */

/**
 * @param {object} manifest as export_models.py writes it
 * @returns {ModelInfo}
 */
export function readManifest(manifest) {
  const kind = manifest.signal?.kind ?? "audio";
  if (kind !== "audio") throw new PageError(`This model takes ${kind}, not sound: serve one that hears words.`);
  const { file, sha256, labels, sample_rate: sampleRate, n_samples: nSamples, version, thresholds } = manifest;
  const isWhole =
    Array.isArray(labels) &&
    labels.length > 1 &&
    labels.every((label) => typeof label === "string") &&
    [sampleRate, nSamples].every((value) => Number.isInteger(value) && value > 0) &&
    [file, sha256, version].every((value) => typeof value === "string") &&
    isMapping(thresholds);
  if (!isWhole) throw new PageError("The model's manifest is incomplete: run export_models.py again.");
  const { reject_below: rejectBelow = 0, vad = {} } = thresholds;
  if (!isThreshold(rejectBelow)) throw wrong("reject_below", rejectBelow, "a number");
  return { file, sha256, labels, sampleRate, nSamples, version, rejectBelow, vad: readVad(vad) };
}

/** Thresholds of endpointing, checked as edgedigit/runtime/vad.py does; what `values` leaves out keeps its default. */
export function readVad(values) {
  if (!isMapping(values)) throw wrong("vad", JSON.stringify(values), "names with values");
  const unknown = Object.keys(values).filter((name) => !Object.hasOwn(DEFAULT_VAD, name));
  if (unknown.length) {
    throw new PageError(`The model has endpointing thresholds that this page does not know: ${unknown.join(", ")}.`);
  }
  const { detector = DEFAULT_VAD.detector, ...numbers } = values;
  if (detector !== DEFAULT_VAD.detector) {
    throw new PageError(`The model asks for the detector ${detector}; this page has ${DEFAULT_VAD.detector} alone.`);
  }
  const noNumber = Object.keys(numbers).find((name) => !isThreshold(numbers[name]));
  if (noNumber) throw wrong(noNumber, values[noNumber], "a number");
  const vad = { ...DEFAULT_VAD, ...values };
  // A model older than lasting_ms may ask more seldom than its default; one older than floor_assumed_ms had a thirtieth.
  // One older than lasting_above_db answered while sound goes on in quiet, too.
  if ("lasting_ms" in values && !("lasting_above_db" in values)) vad.lasting_above_db = MAX_DB;
  if (!("lasting_ms" in values)) vad.lasting_ms = Math.max(vad.lasting_ms, vad.partial_ms);
  if (!("floor_assumed_ms" in values)) {
    vad.floor_assumed_ms = vad.frame_ms * Math.max(1, Math.floor(framesIn(vad.floor_window_ms, vad) / 30));
  }
  const check = (name, isRight, expected) => {
    if (!isRight(vad[name])) throw wrong(name, vad[name], expected);
  };
  const { frame_ms: frame, hangover_ms: hangover, max_speech_ms: longest } = vad;
  check("silero_probability", (value) => value > 0 && value < 1, "more than 0 and below 1");
  for (const name of FROM_0_BELOW_1) check(name, (value) => value >= 0 && value < 1, "0 or more and below 1");
  const dB = Object.keys(vad).filter((name) => name.endsWith("_db"));
  for (const name of dB) check(name, (value) => Math.abs(value) <= MAX_DB, `-${MAX_DB} to ${MAX_DB}`);
  const { silero_probability: found } = vad;
  check("silero_release", (value) => value >= 0 && value < found, `0 or more and below silero_probability, ${found}`);
  check("frame_ms", (value) => [10, 20, 30].includes(value), "10, 20 or 30");
  check("aggressiveness", (value) => [0, 1, 2, 3].includes(value), "0, 1, 2 or 3");
  check("onset_ms", (value) => frame <= value && value < longest, `${frame} up to less than max_speech_ms, ${longest}`);
  check("early_ms", (value) => frame <= value && value <= hangover, `${frame} to hangover_ms, ${hangover}`);
  for (const name of AT_LEAST_A_FRAME) check(name, (value) => value >= frame, `${frame} or more`);
  check("partial_ms", (value) => value <= vad.lasting_ms, `no more than lasting_ms, ${vad.lasting_ms}`);
  for (const name of AT_LEAST_0) check(name, (value) => value >= 0, "0 or more");
  check("floor_window_ms", (value) => value >= 10 * frame, `${10 * frame} or more`);
  return vad;
}

const isMapping = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isThreshold = (value) => Number.isFinite(value) && Math.abs(value) <= MAX_THRESHOLD;
const wrong = (name, value, expected) =>
  new PageError(`The model's threshold ${name} is ${value}, expected ${expected}.`);

/** How a label is called on the page: "7", "yes"; nothing for what is no word of the model's. */
export function nameOf(label) {
  return label === NON_DIGIT ? "other" : label;
}

/** What the person is to say: "Say a digit.", "Say yes or no." */
export function taskOf(labels) {
  const hasDigits = [..."0123456789"].every((digit) => labels.includes(digit));
  const words = labels.filter((label) => label !== NON_DIGIT && !(hasDigits && /^\d$/.test(label)));
  if (hasDigits) words.unshift("a digit");
  return `Say ${new Intl.ListFormat("en-GB", { type: "disjunction" }).format(words)}.`;
}
