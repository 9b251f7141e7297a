/** What a listener that is too slow leaves waiting is bounded; what finds no room is counted, as by the Python queue. */

const WAITING_S = 5; // of sound

/** Counts what has been handed over and not yet been acknowledged. */
export class Backlog {
  /** @param {number} sampleRate Hz */
  constructor(sampleRate) {
    this.limit = WAITING_S * sampleRate;
    this.waiting = 0; // samples handed over
    this.lost = 0; // samples dropped since the last that were handed over
    this.isFull = false;
  }

  /**
   * Whether a block may be handed over, and how much was lost before it. Once full there is no room until all has been
   * heard: one long hole leaves more words whole than many short ones.
   * @param {number} nSamples
   * @returns {number | null} samples lost since the last block that was handed over; null: drop this one too
   */
  offer(nSamples) {
    this.isFull = this.waiting > 0 && (this.isFull || this.waiting + nSamples > this.limit);
    if (this.isFull) {
      this.lost += nSamples;
      return null;
    }
    const { lost } = this;
    this.lost = 0;
    this.waiting += nSamples;
    return lost;
  }

  /** @param {number} nSamples that have been heard */
  acknowledge(nSamples) {
    this.waiting -= nSamples;
  }
}
