/** What a model says about itself in its manifest, checked. */

import { DEFAULT_VAD } from "./activity.js";

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
    typeof thresholds === "object";
  if (!isWhole) throw new PageError("The model's manifest is incomplete: run export_models.py again.");
  const rejectBelow = thresholds.reject_below ?? 0;
  return { file, sha256, labels, sampleRate, nSamples, version, rejectBelow, vad: readVad(thresholds.vad ?? {}) };
}

/** Thresholds of endpointing; what `values` leaves out keeps its default. */
export function readVad(values) {
  const unknown = Object.keys(values).filter((name) => !(name in DEFAULT_VAD));
  if (unknown.length) {
    throw new PageError(`The model has endpointing thresholds that this page does not know: ${unknown.join(", ")}.`);
  }
  const { detector = DEFAULT_VAD.detector, ...numbers } = values;
  if (detector !== DEFAULT_VAD.detector) {
    throw new PageError(`The model asks for the detector ${detector}; this page has ${DEFAULT_VAD.detector} alone.`);
  }
  const wrong = Object.keys(numbers).find((name) => !Number.isFinite(numbers[name]));
  if (wrong) throw new PageError(`The model's threshold ${wrong} is ${values[wrong]}, expected a number.`);
  const vad = { ...DEFAULT_VAD, ...values };
  if (![10, 20, 30].includes(vad.frame_ms)) {
    throw new PageError(`The model's threshold frame_ms is ${vad.frame_ms}, expected 10, 20 or 30.`);
  }
  return vad;
}

/** How a label is called on the page: "7", "yes"; nothing for what is no word of the model's. */
export function nameOf(label) {
  return label === NON_DIGIT ? "other" : label;
}
