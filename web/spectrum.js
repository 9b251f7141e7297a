/** Short-time spectra for the picture; what the model sees is computed inside its own graph. */

/**
 * Power spectra in dB of a stream, one per hop, of frames under a Hann window.
 * A full-scale sine has about 0 dB.
 */
export class Spectrogram {
  /**
   * @param {number} nFft a power of two, samples in a frame
   * @param {number} hop samples between frames
   */
  constructor(nFft, hop) {
    this.hop = hop;
    this.window = Float64Array.from({ length: nFft }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / nFft));
    this.frame = new Float64Array(nFft);
    this.filled = 0; // samples since the last spectrum
  }

  /** @returns {Float64Array[]} a spectrum of nFft / 2 bins for every hop that `samples` complete */
  push(samples) {
    const spectra = [];
    for (const sample of samples) {
      this.frame.copyWithin(0, 1);
      this.frame[this.frame.length - 1] = sample;
      if (++this.filled < this.hop) continue;
      this.filled = 0;
      spectra.push(powerDb(this.frame.map((value, i) => value * this.window[i])));
    }
    return spectra;
  }
}

/** Power of a real frame's first half of bins, in dB, of which a windowed full-scale sine has about 0. */
export function powerDb(frame) {
  const { real, imaginary } = fft(frame);
  const scale = 4 / frame.length; // half of a sine's amplitude is in this bin, and half of that passes the window
  return Float64Array.from({ length: frame.length / 2 }, (_, i) => {
    return 20 * Math.log10(scale * Math.hypot(real[i], imaginary[i]) + 1e-6);
  });
}

/** Discrete Fourier transform of a real signal whose length is a power of two: iterative, radix 2. */
export function fft(signal) {
  const n = signal.length;
  const real = Float64Array.from(signal);
  const imaginary = new Float64Array(n);
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [real[i], real[j]] = [real[j], real[i]];
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((-2 * Math.PI * k) / size);
      const sin = Math.sin((-2 * Math.PI * k) / size);
      for (let a = k; a < n; a += size) {
        const b = a + half;
        const re = real[b] * cos - imaginary[b] * sin;
        const im = real[b] * sin + imaginary[b] * cos;
        [real[b], imaginary[b]] = [real[a] - re, imaginary[a] - im];
        [real[a], imaginary[a]] = [real[a] + re, imaginary[a] + im];
      }
    }
  }
  return { real, imaginary };
}
