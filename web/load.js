/**
 * Fetches the model, ONNX Runtime Web and WebRTC's detector, and puts them together; each failure is one clear line.
 */

import { SpeechActivity } from "./activity.js";
import { PageError, readManifest } from "./manifest.js";
import { Recognizer } from "./recognizer.js";
import { StreamingRecognizer } from "./stream.js";
import { createWebRtcVad } from "./webrtc_vad.js";

const MANIFEST = new URL("model/manifest.json", import.meta.url).href;
const MODEL = new URL("model/model.onnx", import.meta.url).href;
const VENDOR = new URL("vendor/", import.meta.url).href;

/** @returns {Promise<Recognizer>} */
export async function loadRecognizer() {
  const manifest = await (await fetched(MANIFEST)).json().catch(() => {
    throw new PageError("The model's manifest is no JSON: run export_models.py again.");
  });
  const info = readManifest(manifest);
  const model = new Uint8Array(await (await fetched(MODEL)).arrayBuffer());
  const ort = await loadRuntime();
  return Recognizer.create(ort, model, info);
}

/**
 * WebRTC's detector, fetched and once made, so that later nothing is missing.
 * @param {import("./manifest.js").ModelInfo} info
 * @returns {Promise<() => Promise<object>>} makes one for a stream
 */
export async function loadDetector({ sampleRate, vad }) {
  const createFvad = (await imported("fvad.js")).default;
  const wasmBinary = await (await fetched(VENDOR + "fvad.wasm")).arrayBuffer();
  const frameLength = Math.floor((sampleRate * vad.frame_ms) / 1000);
  const settings = { aggressiveness: vad.aggressiveness, sampleRate, frameLength };
  const create = () => createWebRtcVad(createFvad, { wasmBinary }, settings);
  await create();
  return create;
}

/**
 * @param {Recognizer} recognizer
 * @param {() => Promise<object>} createDetector of `loadDetector`
 * @param {number} sampleRate Hz, of the blocks that will come
 * @returns {Promise<StreamingRecognizer>}
 */
export async function openStream(recognizer, createDetector, sampleRate) {
  const activity = new SpeechActivity(recognizer.info.vad, await createDetector());
  return new StreamingRecognizer(recognizer, activity, sampleRate);
}

async function loadRuntime() {
  if (typeof WebAssembly !== "object") throw new PageError("This browser has no WebAssembly: use a newer one.");
  const ort = await imported("ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1; // fastest on models this small
  // Fetched here so that a missing file is one clear line, where ONNX Runtime would give several.
  ort.env.wasm.wasmBinary = await (await fetched(VENDOR + "ort-wasm-simd-threaded.wasm")).arrayBuffer();
  return ort;
}

async function imported(name) {
  try {
    return await import(VENDOR + name);
  } catch {
    throw missing(VENDOR + name);
  }
}

async function fetched(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw missing(url);
  return response;
}

function missing(url) {
  const name = new URL(url).pathname.split("/").slice(-2).join("/");
  return new PageError(`${name} is missing: open the page with python -m edgedigit.serve, which brings it.`);
}
