/** The last seconds of sound, in columns of 10 ms, for the pictures: bounded, however long the page listens. */

import { Spectrogram } from "./spectrum.js";

const N_FFT = 256;
const COLUMN_MS = 10;

export class History {
  /**
   * @param {number} sampleRate Hz
   * @param {number} seconds how much is kept
   */
  constructor(sampleRate, seconds) {
    this.hop = Math.round((sampleRate * COLUMN_MS) / 1000);
    this.nColumns = Math.round((seconds * 1000) / COLUMN_MS);
    this.sampleRate = sampleRate;
    this.seconds = seconds;
    this.clear();
  }

  clear() {
    this.spectrogram = new Spectrogram(N_FFT, this.hop);
    this.pending = [];
    /** @type {{low: number, high: number, speaking: boolean, spectrum: Float64Array}[]} newest last */
    this.columns = [];
    this.nSeen = 0; // columns since the beginning
    /** @type {{text: string, start: number, end: number}[]} in columns since the beginning */
    this.words = [];
  }

  /** Samples at `sampleRate`, and whether they were taken for speech. */
  push(samples, speaking) {
    this.pending.push(...samples);
    for (const spectrum of this.spectrogram.push(samples)) {
      const frame = this.pending.splice(0, this.hop);
      this.columns.push({ low: Math.min(...frame), high: Math.max(...frame), speaking, spectrum });
      this.nSeen++;
    }
    this.columns.splice(0, this.columns.length - this.nColumns);
    this.words = this.words.filter((word) => word.end > this.nSeen - this.nColumns);
  }

  /** Write `text` over a word, whose ends lie that many seconds before the newest sample. */
  mark(text, startAgoS, endAgoS) {
    const [start, end] = [startAgoS, endAgoS].map((ago) => this.nSeen - Math.round((ago * 1000) / COLUMN_MS));
    this.words.push({ text, start, end });
  }
}
