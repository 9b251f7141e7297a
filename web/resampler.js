/**
 * Resampling of a live stream, the same filter as edgedigit/runtime/resampler.py: windowed sinc, polyphase, with a
 * delay of about 5 ms, whose output does not depend on how the input is cut into blocks. Where the rates share so small
 * a divisor that their filters would not fit in MAX_TAPS, filters between those of an even grid are interpolated.
 *
 * Source: Kaiser window design, Oppenheim and Schafer, Discrete-Time Signal Processing, section 7.6.
 */

const TRANSITION = 0.1; // width of the filter's slope as a share of the lower Nyquist frequency: 400 Hz at 8 kHz
const KAISER_BETA = 6; // about 63 dB of attenuation beyond the slope
const MAX_TAPS = 2 ** 18; // in the table of filters, 1 MB; any two rates of audio devices need fewer
const MIN_SAMPLE_RATE = 1000; // Hz; anything lower cannot hold speech
const MAX_SAMPLE_RATE = 768000; // Hz, the fastest that audio hardware offers

export class StreamResampler {
  /**
   * @param {number} origSampleRate Hz, of the input
   * @param {number} sampleRate Hz, of the output
   */
  constructor(origSampleRate, sampleRate) {
    for (const rate of [origSampleRate, sampleRate]) {
      if (!(Number.isInteger(rate) && rate >= MIN_SAMPLE_RATE && rate <= MAX_SAMPLE_RATE)) {
        throw new RangeError(
          `sample rate ${rate} Hz is not a whole number from ${MIN_SAMPLE_RATE} to ${MAX_SAMPLE_RATE}`,
        );
      }
    }
    const divisor = greatestCommonDivisor(origSampleRate, sampleRate);
    this.up = sampleRate / divisor;
    this.down = origSampleRate / divisor;
    const lower = Math.min(origSampleRate, sampleRate) / 2; // Hz
    // Kaiser's formula for the length: (A - 8) / (2.285 * slope in radians per sample), A = 63 dB.
    const slope = (2 * Math.PI * TRANSITION * lower) / origSampleRate;
    this.half = Math.ceil((63 - 8) / (2.285 * slope) / 2);
    /** How long after a sample has come in the output at its time can be computed, in seconds. */
    this.delayS = this.up === this.down ? 0 : this.half / origSampleRate;
    const cutoff = (2 * lower * (1 - TRANSITION / 4)) / origSampleRate; // middle of the slope, cycles per two samples
    const isExact = this.up * 2 * this.half <= MAX_TAPS;
    this.nPhases = isExact ? this.up : Math.max(1, Math.floor(MAX_TAPS / (2 * this.half)) - 1);
    // On a grid one more, so that every position has a filter on both sides.
    const nFilters = isExact ? this.up : this.nPhases + 1;
    this.filters = Array.from({ length: nFilters }, (_, phase) => filterOf(phase / this.nPhases, this.half, cutoff));
    this.reset();
  }

  /** Forget the stream so far. */
  reset() {
    this.buffer = new Float32Array(this.half - 1);
    this.position = 0; // of the next output's first tap in the buffer, in units of 1 / up input samples
  }

  /** Take samples at the original rate, return what can be computed at the new one. */
  push(samples) {
    if (this.up === this.down) return samples;
    this.buffer = concatenate([this.buffer, samples]);
    const startsAvailable = this.buffer.length - 2 * this.half + 1;
    const count = Math.max(0, Math.ceil((startsAvailable * this.up - this.position) / this.down));
    const output = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const start = Math.floor(this.position / this.up);
      const phase = (this.position % this.up) * this.nPhases; // in units of 1 / up filters
      const below = Math.floor(phase / this.up);
      const share = (phase % this.up) / this.up; // 0 where there is a filter for every phase
      const value = this.filtered(start, this.filters[below]);
      output[i] = share ? value + share * (this.filtered(start, this.filters[below + 1]) - value) : value;
      this.position += this.down;
    }
    const used = Math.min(Math.floor(this.position / this.up), this.buffer.length);
    this.buffer = this.buffer.slice(used);
    this.position -= used * this.up;
    return output;
  }

  /** The filter's sum over the samples from `start` on. */
  filtered(start, filter) {
    let sum = 0;
    for (let tap = 0; tap < filter.length; tap++) sum += this.buffer[start + tap] * filter[tap];
    return sum;
  }

  /** Return what the delay still held back. */
  flush() {
    return this.up === this.down ? new Float32Array(0) : this.push(new Float32Array(this.half));
  }
}

/** Blocks of samples, one after the other. */
export function concatenate(blocks) {
  const whole = new Float32Array(blocks.reduce((total, block) => total + block.length, 0));
  let start = 0;
  for (const block of blocks) {
    whole.set(block, start);
    start += block.length;
  }
  return whole;
}

/** Taps for an output sample that lies `fraction` of the way between two input samples; they sum to 1. */
function filterOf(fraction, half, cutoff) {
  const taps = Float64Array.from({ length: 2 * half }, (_, tap) => {
    const offset = fraction + half - 1 - tap;
    const window = besselI0(KAISER_BETA * Math.sqrt(Math.max(0, 1 - (offset / half) ** 2)));
    return sinc(cutoff * offset) * window;
  });
  const sum = taps.reduce((total, tap) => total + tap, 0);
  return Float32Array.from(taps, (tap) => tap / sum);
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** Modified Bessel function of the first kind and order zero, by its power series. */
function besselI0(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
