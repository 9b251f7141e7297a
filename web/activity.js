/**
 * Which frames of a stream are speech, decided as in edgedigit/runtime/vad.py: by WebRTC's detector, compiled to
 * WebAssembly, and an energy gate over an adaptive noise floor.
 */

/**
 * Every threshold of endpointing, with the defaults of edgedigit.runtime.VadOptions; a model's manifest has its own.
 */
export const DEFAULT_VAD = Object.freeze({
  detector: "webrtc",
  frame_ms: 10,
  aggressiveness: 1,
  detector_floor_db: -55,
  detector_gain_db: 30,
  silero_probability: 0.5,
  silero_release: 0.15,
  voiced_correlation: 0.5,
  gate_db: 6,
  gate_share: 0.5,
  gate_max_db: 12,
  peak_drop_db: 30,
  peak_ms: 500,
  floor_window_ms: 3000,
  floor_quantile: 0.1,
  floor_min_db: -75,
  floor_assumed_ms: 100,
  no_sound_db: -90.3,
  onset_ms: 30,
  pre_roll_ms: 400,
  mirrored_ms: 100,
  stable_silence_ms: 40,
  stable_ms: 80,
  early_ms: 80,
  early_probability: 0.9,
  hangover_ms: 100,
  lasting_ms: 120,
  lasting_drop_db: 3,
  lasting_above_db: 45,
  faded_db: 20,
  rest_ms: 250,
  min_speech_ms: 60,
  tail_ms: 300,
  max_speech_ms: 1500,
  running_pause_ms: 500,
  running_speech_ms: 600,
  running_probability: 0.99,
  running_above_db: 4,
  partial_ms: 40,
});

/** Whole frames in a duration, at least one; halves go to the even neighbour, as Python rounds. */
export function framesIn(durationMs, vad) {
  const frames = durationMs / vad.frame_ms;
  const below = Math.floor(frames);
  const isHalf = frames - below === 0.5;
  return Math.max(1, isHalf ? below + (below % 2) : Math.round(frames));
}

/** Speech is what WebRTC's detector takes for speech and what stands out of the noise. */
export class SpeechActivity {
  /**
   * @param {typeof DEFAULT_VAD} vad
   * @param {{isSpeech(pcm: Int16Array): boolean, reset(): void}} webrtc
   */
  constructor(vad, webrtc) {
    this.vad = vad;
    this.webrtc = webrtc;
    this.reset();
  }

  /** Forget the stream so far. */
  reset() {
    this.webrtc.reset();
    this.lastSample = 0;
    this.bands = [new Band(this.vad), new Band(this.vad)];
  }

  /** Present noise floor in dBFS. */
  get noiseFloorDb() {
    return this.bands[0].floorDb;
  }

  /** Whether the next frame is speech. */
  isSpeech(frame) {
    // Two bands: everything but offset, and the difference of neighbours, in which faint hiss stands out.
    const difference = frame.map((sample, i) => sample - (i ? frame[i - 1] : this.lastSample));
    this.lastSample = frame[frame.length - 1];
    const power = [frame, difference].map(variance);
    const hasSound = power[0] > 10 ** (this.vad.no_sound_db / 10);
    const loud = this.bands.map((band, i) => band.standsOut(10 * Math.log10(power[i] + 1e-12), hasSound));
    const gainDb = Math.min(Math.max(this.vad.detector_floor_db - this.noiseFloorDb, 0), this.vad.detector_gain_db);
    const scale = 32768 * 10 ** (gainDb / 20);
    const pcm = Int16Array.from(frame, (sample) =>
      Math.min(Math.max(Math.fround(sample * Math.fround(scale)), -32768), 32767),
    );
    return this.webrtc.isSpeech(pcm) && loud.some(Boolean);
  }
}

/** The past of one band's frame energies, in dB: its noise floor and its loudest frame. */
class Band {
  constructor(vad) {
    this.vad = vad;
    const nFrames = framesIn(vad.floor_window_ms, vad);
    this.nAssumed = Math.min(framesIn(vad.floor_assumed_ms, vad), nFrames - 1);
    this.pastDb = new Float64Array(nFrames).fill(Infinity);
    this.pastDb.fill(vad.floor_min_db, 0, this.nAssumed);
    this.peaksDb = new Float64Array(framesIn(vad.peak_ms, vad)).fill(-Infinity);
    this.nHeard = 0;
    this.floorDb = vad.floor_min_db;
  }

  /**
   * Remember a frame's energy; whether it is above the noise and not far below the loudest frame. A frame without sound
   * counts for nothing before the first sound, later as the floor that was known.
   */
  standsOut(energyDb, hasSound) {
    if (!hasSound && !this.nHeard) return false;
    const nFrames = this.pastDb.length;
    this.peaksDb[this.nHeard % this.peaksDb.length] = energyDb;
    this.pastDb[(this.nAssumed + this.nHeard) % nFrames] = hasSound ? energyDb : this.floorDb;
    this.nHeard++;
    const k = Math.floor(this.vad.floor_quantile * Math.min(this.nAssumed + this.nHeard, nFrames));
    this.floorDb = Math.max(this.pastDb.slice().sort()[k], this.vad.floor_min_db);
    const peakDb = this.peaksDb.reduce((a, b) => Math.max(a, b));
    const shareDb = Math.min(this.vad.gate_share * (peakDb - this.floorDb), this.vad.gate_max_db);
    const aboveDb = Math.max(this.vad.gate_db, shareDb);
    return energyDb > Math.max(this.floorDb + aboveDb, peakDb - this.vad.peak_drop_db);
  }
}

function variance(samples) {
  let mean = 0;
  for (const sample of samples) mean += sample;
  mean /= samples.length;
  let sum = 0;
  for (const sample of samples) sum += (sample - mean) ** 2;
  return sum / samples.length;
}

/** Whether a speech frame is mainly low-frequency, as vowels are and hiss and clicks are not: independent of level. */
export function isVoiced(frame, correlation) {
  let mean = 0;
  for (const sample of frame) mean += sample;
  mean /= frame.length;
  let neighbours = 0;
  let energy = 0;
  frame.forEach((sample, i) => {
    energy += (sample - mean) ** 2;
    if (i) neighbours += (sample - mean) * (frame[i - 1] - mean);
  });
  return neighbours > correlation * energy;
}
