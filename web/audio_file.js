/** Audio files as mono samples at their own rate, decoded by the browser. */

import { PageError } from "./manifest.js";

const OTHER_RATE = 48000; // Hz; of formats whose rate the browser does not tell
const MAX_S = 600; // longer recordings are for infer.py, which does not hold them whole

/**
 * @param {File} file
 * @returns {Promise<{samples: Float32Array, sampleRate: number}>}
 */
export async function readAudioFile(file) {
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new PageError(`${file.name} cannot be read: choose a file that is still there, and no folder.`);
  }
  const sampleRate = wavRate(bytes) ?? OTHER_RATE; // decoding converts to the context's rate, so it is given the file's
  let context;
  try {
    context = new OfflineAudioContext(1, 1, sampleRate);
  } catch {
    throw new PageError(`${file.name} has ${sampleRate} Hz, which this browser does not take: convert it to 8000 Hz.`);
  }
  let decoded;
  try {
    decoded = await context.decodeAudioData(bytes);
  } catch {
    throw new PageError(`${file.name} is no audio file that this browser can read: convert it to WAV.`);
  }
  if (decoded.length === 0) throw new PageError(`${file.name} holds no samples: record it again.`);
  if (decoded.duration > MAX_S) {
    throw new PageError(`${file.name} is longer than ${MAX_S / 60} minutes: use python infer.py for it.`);
  }
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i));
  return { samples: meanOf(channels), sampleRate };
}

/** Sample rate in a WAV file's header, in Hz; null if this is none. */
export function wavRate(bytes) {
  const view = new DataView(bytes);
  const tag = (at) => String.fromCharCode(...new Uint8Array(bytes, at, 4));
  if (view.byteLength < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") return null;
  for (
    let at = 12;
    at + 16 <= view.byteLength;
    at += 8 + view.getUint32(at + 4, true) + (view.getUint32(at + 4, true) % 2)
  ) {
    if (tag(at) === "fmt ") return view.getUint32(at + 12, true);
  }
  return null;
}

/** Average of the channels. */
export function meanOf(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
}
