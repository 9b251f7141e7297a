/** Fitting a word into the model's window, as edgedigit/audio.py and edgedigit/runtime/stream.py do. */

const SPEECH_FRAME_MS = 20;
const SPEECH_FLOOR_DB = 25; // frames further below the loudest one do not count as speech
const NOISE_MARGIN_DB = 6; // nor do frames closer than this to the quietest tenth of the clip

/**
 * A shorter clip is padded with zeros on both sides; a longer one is cut to the window that holds the most speech, the
 * middle one where several hold the same.
 */
export function fixLength(waveform, nSamples, sampleRate) {
  const spare = waveform.length - nSamples;
  if (spare === 0) return waveform;
  if (spare > 0) {
    const start = loudestStart(waveform, nSamples, sampleRate);
    return waveform.slice(start, start + nSamples);
  }
  const fixed = new Float32Array(nSamples);
  fixed.set(waveform, -Math.floor(spare / 2));
  return fixed;
}

/** `waveform` with `before` and `after` samples around it, mirrored at its ends as often as needed. */
export function padMirrored(waveform, before, after) {
  const period = 2 * waveform.length;
  return Float32Array.from({ length: before + waveform.length + after }, (_, i) => {
    const at = (((i - before) % period) + period) % period;
    return waveform[at < waveform.length ? at : period - 1 - at];
  });
}

function loudestStart(waveform, nSamples, sampleRate) {
  const frameLength = Math.max(1, Math.round((sampleRate * SPEECH_FRAME_MS) / 1000));
  const speech = speechEnergies(waveform, frameLength).map(Math.sqrt);
  const total = new Float64Array(waveform.length + 1);
  for (let i = 0; i < waveform.length; i++) total[i + 1] = total[i] + speech[Math.floor(i / frameLength)];
  const held = total.slice(nSamples).map((end, start) => end - total[start]);
  const most = held.reduce((a, b) => Math.max(a, b)) * (1 - 1e-9);
  const best = [...held.keys()].filter((start) => held[start] >= most);
  return best[Math.floor(best.length / 2)];
}

/** Mean square of each whole or last partial frame, zero where it is not speech. */
function speechEnergies(waveform, frameLength) {
  const energies = Float64Array.from({ length: Math.ceil(waveform.length / frameLength) }, (_, i) => {
    const frame = waveform.subarray(i * frameLength, (i + 1) * frameLength);
    return frame.reduce((sum, sample) => sum + sample * sample, 0) / frame.length;
  });
  const loudest = energies.reduce((a, b) => Math.max(a, b));
  const floor = Math.max(
    quantile(energies, 0.1) * 10 ** (NOISE_MARGIN_DB / 10),
    loudest * 10 ** (-SPEECH_FLOOR_DB / 10),
  );
  const speech = energies.map((energy) => (energy >= floor ? energy : 0));
  return speech.some((energy) => energy > 0) ? speech : energies;
}

/** Linear between neighbours. */
function quantile(values, share) {
  const sorted = values.slice().sort();
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}
