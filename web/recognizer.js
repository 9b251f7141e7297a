/** One ONNX file in, labels out: ONNX Runtime Web over a window of audio, as edgedigit/runtime/predictor.py does. */

import { NON_DIGIT, PageError } from "./manifest.js";
import { fixLength } from "./window.js";

const INPUT = "waveform";
const OUTPUT = "probabilities";
const SILENCE_RMS = 1e-5; // -100 dBFS over the window, below what 16 bits can hold: nothing was recorded

/**
 * @typedef {object} Prediction
 * @property {string} label the likeliest
 * @property {number} probability calibrated, of `label`
 * @property {number[]} probabilities of every label, in the model's order
 * @property {boolean} rejected not to be taken for a digit
 * @property {number} computeMs features and network
 */

export class Recognizer {
  /**
   * @param {object} ort ONNX Runtime Web
   * @param {object} session of it
   * @param {import("./manifest.js").ModelInfo} info
   */
  constructor(ort, session, info) {
    this.ort = ort;
    this.session = session;
    this.info = info;
  }

  /**
   * @param {object} ort ONNX Runtime Web
   * @param {Uint8Array} model bytes of the ONNX file
   * @param {import("./manifest.js").ModelInfo} info
   */
  static async create(ort, model, info) {
    await checkHash(model, info);
    let session;
    try {
      session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    } catch (error) {
      throw new PageError(`ONNX Runtime cannot open ${info.file}: ${firstLine(error)}`);
    }
    const [inputs, outputs] = [session.inputNames, session.outputNames].map(String);
    if (inputs !== INPUT || outputs !== OUTPUT) {
      throw new PageError(
        `${info.file} maps ${inputs} to ${outputs}, expected ${INPUT} to ${OUTPUT}: export it again.`,
      );
    }
    const recognizer = new Recognizer(ort, session, info);
    // The first run is the slowest, so that it is done by now as well.
    const { length } = await recognizer.probabilities(new Float32Array(info.nSamples));
    if (length !== info.labels.length) {
      throw new PageError(
        `${info.file} gives ${length} probabilities for the ${info.labels.length} labels of its manifest.`,
      );
    }
    return recognizer;
  }

  /**
   * @param {Float32Array} waveform at the model's rate; a longer one than the model's window is cut to the loudest part
   * @returns {Promise<Prediction>}
   */
  async predict(waveform) {
    const start = performance.now();
    const window = fixLength(waveform, this.info.nSamples, this.info.sampleRate);
    const probabilities = await this.probabilities(window);
    const computeMs = performance.now() - start;
    const best = probabilities.indexOf(probabilities.reduce((a, b) => Math.max(a, b)));
    const [label, probability] = [this.info.labels[best], probabilities[best]];
    const rms = Math.sqrt(window.reduce((sum, sample) => sum + sample * sample, 0) / window.length);
    const rejected = rms < SILENCE_RMS || probability < this.info.rejectBelow || label === NON_DIGIT;
    return { label, probability, probabilities: [...probabilities], rejected, computeMs };
  }

  /** Run the network alone. */
  async probabilities(window) {
    const input = new this.ort.Tensor("float32", window, [1, window.length]);
    const outputs = await this.session.run({ [INPUT]: input });
    return outputs[OUTPUT].data;
  }
}

async function checkHash(model, info) {
  if (!globalThis.crypto?.subtle) return; // browsers offer it to https and localhost alone, and microphones likewise
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", model));
  const got = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (got !== info.sha256) {
    throw new PageError(`${info.file} is not the file that its manifest describes: copy both again.`);
  }
}

function firstLine(error) {
  return String(error?.message ?? error).split("\n")[0];
}
