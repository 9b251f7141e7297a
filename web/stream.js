/**
 * Words out of a stream: blocks of any size and rate in, events out, the same however the stream is cut. The
 * decisions are those of edgedigit/runtime/stream.py, step by step; what is changed there is changed here.
 */

import { framesIn, isVoiced } from "./activity.js";
import { NON_DIGIT } from "./manifest.js";
import { concatenate, StreamResampler } from "./resampler.js";
import { padMirrored } from "./window.js";

/**
 * @typedef {object} Event
 * @property {"speech_start" | "digit" | "rejected" | "speech_end"} kind
 * @property {number} timeS seconds since the stream's beginning, when it was decided
 * @property {number} startS first frame of the speech
 * @property {number} endS end of its last frame so far, which a digit need not wait for
 * @property {import("./recognizer.js").Prediction} [prediction] of `digit` and `rejected` only
 * @property {number} [latencyMs] from `endS` to the answer: filter delay, silence waited for, the block's waiting, features
 *   and network; while sound goes on from the last frame within faded_db of the loudest, an estimate
 */

/** Sum of squares about the mean. */
function energyOf(samples) {
  let sum = 0;
  let squares = 0;
  for (const sample of samples) {
    sum += sample;
    squares += sample * sample;
  }
  return Math.max(0, squares - (sum * sum) / samples.length);
}

const isSure = ({ rejected, probability }, sure) => !rejected && probability >= sure;

/** Finds the words in a stream and recognises each. One call of `accept` or `flush` at a time. */
export class StreamingRecognizer {
  /**
   * @param {import("./recognizer.js").Recognizer} recognizer
   * @param {import("./activity.js").SpeechActivity} activity
   * @param {number} sampleRate Hz, of the blocks
   */
  constructor(recognizer, activity, sampleRate) {
    this.recognizer = recognizer;
    this.activity = activity;
    this.vad = recognizer.info.vad;
    this.frameLength = Math.floor((recognizer.info.sampleRate * this.vad.frame_ms) / 1000);
    this.resampler = new StreamResampler(sampleRate, recognizer.info.sampleRate);
    this.onset = framesIn(this.vad.onset_ms, this.vad);
    this.nPast = framesIn(this.vad.pre_roll_ms, this.vad) + this.onset;
    this.reset();
  }

  /** Begin a new stream at time zero. */
  reset() {
    this.resampler.reset();
    this.activity.reset();
    this.pending = new Float32Array(0); // less than a frame
    this.position = 0; // frames handled
    this.cameMs = 0; // when the block that is being handled came, in the clock's milliseconds
    this.past = []; // while there is no word: the recent past, from which a word takes its beginning
    this.word = []; // frames; empty while there is no word
    this.wordStart = 0; // first speech frame of the word
    this.nBefore = 0; // frames of `word` before it
    this.asks = []; // while the word goes on, since the model was last unsure or of another label
    this.answered = 0; // frame at which it was answered while it goes on; 0: not yet
    this.restDb = -Infinity; // how loud it still was then
    this.silence = 0; // frames since the word's last speech
    this.running = 0; // frames of rejected words less those of digits, since the last pause
    this.runningDb = -Infinity; // the loudest frame of the rejected words
    this.lastEnd = 0; // of the last word's speech
    this.digitEnd = -Infinity; // likewise, of the last that was answered
  }

  /**
   * Take the next block, mono float in [-1, 1].
   * @param {Float32Array} samples
   * @param {number} [waitedMs] how long it has waited for this call, which counts as latency
   * @returns {Promise<Event[]>}
   */
  async accept(samples, waitedMs = 0) {
    this.cameMs = performance.now() - waitedMs;
    return this.acceptResampled(this.resampler.push(samples));
  }

  /**
   * End the stream: answer for a word that is still open, then begin anew.
   * @returns {Promise<Event[]>}
   */
  async flush() {
    this.cameMs = performance.now();
    const events = await this.acceptResampled(this.resampler.flush());
    if (this.pending.length) {
      events.push(...(await this.acceptResampled(new Float32Array(this.frameLength - this.pending.length))));
    }
    if (this.word.length) events.push(...this.close(this.answered ? [] : await this.answer()));
    this.reset();
    return events;
  }

  /** What the word that is being said sounds like so far, or null: for looking at, it decides nothing. */
  async partial() {
    return this.word.length ? this.predict(this.word, this.isRunningSpeech()) : null;
  }

  async acceptResampled(samples) {
    const waiting = concatenate([this.pending, samples]);
    const nWhole = Math.floor(waiting.length / this.frameLength) * this.frameLength;
    this.pending = waiting.slice(nWhole);
    const events = [];
    for (let start = 0; start < nWhole; start += this.frameLength) {
      events.push(...(await this.acceptFrame(waiting.slice(start, start + this.frameLength))));
    }
    return events;
  }

  async acceptFrame(samples) {
    const active = this.activity.isSpeech(samples);
    const voiced = active && isVoiced(samples, this.vad.voiced_correlation);
    const frame = { samples, active, voiced, energy: energyOf(samples) };
    this.position++;
    if (this.word.length) {
      this.word.push(frame);
      this.silence = active ? 0 : this.silence + 1;
      return this.endOfWord();
    }
    this.past.push(frame);
    if (this.past.length > this.nPast) this.past.shift();
    if (this.past.length < this.onset || !this.past.slice(-this.onset).every((past) => past.active)) return [];
    this.word = [...this.past];
    this.silence = 0;
    this.wordStart = Math.max(this.position - this.onset, this.lastEnd);
    this.nBefore = this.word.length - (this.position - this.wordStart);
    this.asks = [];
    this.answered = 0;
    if (this.wordStart - this.lastEnd >= framesIn(this.vad.running_pause_ms, this.vad)) {
      this.running = 0;
      this.runningDb = -Infinity;
    }
    return [this.event("speech_start")];
  }

  /** Answer if the word is over, or seems to be and the model is sure. */
  async endOfWord() {
    const tooLong = this.position - this.wordStart >= framesIn(this.vad.max_speech_ms, this.vad);
    if (this.answered) {
      const isSilent = this.silence >= framesIn(this.vad.stable_silence_ms, this.vad);
      return isSilent || tooLong || this.beginsAnew() ? this.close([]) : [];
    }
    if (tooLong || this.silence === framesIn(this.vad.hangover_ms, this.vad)) {
      return this.close(await this.answer());
    }
    const early = this.silence === framesIn(this.vad.early_ms, this.vad);
    if (early || this.silence === framesIn(this.vad.stable_silence_ms, this.vad)) {
      const answer = await this.answer({ stableMs: early ? 0 : this.vad.stable_ms, sure: this.vad.early_probability });
      if (answer.length) return this.close(answer);
    }
    return this.whileItLasts();
  }

  /** The answer to a word that goes on, if the model has been sure of one label for long. */
  async whileItLasts() {
    const { partial_ms: between, lasting_ms: lasting } = this.vad;
    const isDue = this.silence === 0 && (this.position - this.wordStart) % framesIn(between, this.vad) === 0;
    if (!isDue || !this.isWord()) return [];
    const ask = { nFrames: this.word.length, isRunning: this.isRunningSpeech(), prediction: null };
    this.asks.push(ask);
    const restDb = this.levelDb(framesIn(lasting, this.vad));
    const hasFaded = restDb <= this.levelDb() - this.vad.lasting_drop_db;
    if (!hasFaded || !this.isInNoise() || !(await this.hasLasted())) return [];
    this.answered = this.position;
    this.restDb = restDb;
    return [this.decision("digit", ask.prediction, this.nFaded())];
  }

  /** Whether noise may keep the word open. In quiet what goes on is speech, and a silence will come. */
  isInNoise() {
    const { noiseFloorDb: floorDb = Infinity } = this.activity; // where nothing says how loud it is, it may
    return this.levelDb() - floorDb < this.vad.lasting_above_db;
  }

  /**
   * Ask whether the model is sure of a label and has been sure of the same for `lasting_ms`. The latest time is asked
   * about first, and none before one that had no such answer: where it is seldom sure that is a third of the times.
   */
  async hasLasted() {
    let { asks } = this;
    this.asks = []; // a model that fails leaves none, so that it is not asked the same again
    const last = asks.at(-1);
    const nLasting = framesIn(this.vad.lasting_ms, this.vad);
    let lasted = false;
    for (let i = asks.length - 1; i >= 0 && last.nFrames - asks[0].nFrames >= nLasting; i--) {
      const ask = asks[i];
      ask.prediction ??= await this.predict(this.word.slice(0, ask.nFrames), ask.isRunning);
      if (!isSure(ask.prediction, this.vad.early_probability) || ask.prediction.label !== last.prediction.label) {
        asks = asks.slice(i + 1);
        break;
      }
      lasted = last.nFrames - ask.nFrames >= nLasting;
      if (lasted) break;
    }
    this.asks = asks;
    return lasted;
  }

  /** Whether another word seems to begin in what goes on after an answer; the same one would only fade. */
  beginsAnew() {
    const nSince = this.position - this.answered;
    const level = this.levelDb(Math.min(this.onset, nSince));
    const isRested = nSince >= framesIn(this.vad.rest_ms, this.vad);
    return level > this.levelDb() - this.vad.lasting_drop_db || (isRested && level > this.restDb);
  }

  /** Frames since the word was last within faded_db of its loudest, which its end may have been. */
  nFaded() {
    const speech = this.speech();
    const near = Math.max(...speech.map(({ active, energy }) => (active ? energy : 0))) / 10 ** (this.vad.faded_db / 10);
    return speech.length - 1 - speech.findLastIndex(({ active, energy }) => active && energy >= near);
  }

  /** The frames of the word without what came before it, such as a click or the rest of another word. */
  speech() {
    return this.word.slice(this.nBefore);
  }

  /**
   * Ask the model about the word so far; no answer for what holds too little speech to be a word. What is rejected and
   * holds little voice is a click, a breath or the tail of a stop: nothing is said of it.
   * @param {object} [options]
   * @param {number} [options.stableMs] no answer either, unless it was the same this long ago; 0: whatever it was
   * @param {number} [options.sure] nor one that is less probable, or rejected; 0: any
   */
  async answer({ stableMs = 0, sure = 0 } = {}) {
    const nStable = stableMs && framesIn(stableMs, this.vad);
    if (!this.isWord() || this.position - this.wordStart <= nStable) return [];
    const isRunning = this.isRunningSpeech();
    const prediction = await this.predict(this.word, isRunning);
    if (sure && !isSure(prediction, sure)) return [];
    if (nStable) {
      const before = await this.predict(this.word.slice(0, -nStable), isRunning);
      if (before.label !== prediction.label || !isSure(before, sure)) return [];
    }
    if (prediction.rejected && !this.isVoiced()) return [];
    return [this.decision(prediction.rejected ? "rejected" : "digit", prediction, this.silence)];
  }

  /** An answer, so many frames after the word. */
  decision(kind, prediction, nWaited) {
    const waitedMs = nWaited * this.vad.frame_ms + this.resampler.delayS * 1000;
    return { ...this.event(kind), prediction, latencyMs: waitedMs + performance.now() - this.cameMs };
  }

  isWord() {
    const isTail = this.wordStart - this.digitEnd < framesIn(this.vad.tail_ms, this.vad);
    const knowsOthers = this.recognizer.info.labels.includes(NON_DIGIT); // else it takes any hiss for a word
    return isTail || !knowsOthers ? this.isVoiced() : this.lasts((frame) => frame.active);
  }

  isVoiced() {
    return this.lasts((frame) => frame.voiced);
  }

  /** Whether the chosen frames of the word last as long as a word. */
  lasts(chosen) {
    return this.speech().filter(chosen).length * this.vad.frame_ms >= this.vad.min_speech_ms;
  }

  /** Amid running speech the model must be surer: there its digits are mostly syllables of other words. */
  async predict(frames, isRunning) {
    const prediction = await this.recognizer.predict(this.window(frames));
    const isUnsure = isRunning && prediction.probability < this.vad.running_probability;
    return isUnsure ? { ...prediction, rejected: true } : prediction;
  }

  isRunningSpeech() {
    const isRunning = this.running >= framesIn(this.vad.running_speech_ms, this.vad);
    return isRunning && this.levelDb() < this.runningDb + this.vad.running_above_db;
  }

  /** The loudest frame of speech in the word, or among its last; 0: all of them. */
  levelDb(nLast = 0) {
    let loudest = 0;
    for (const { active, energy } of this.speech().slice(-nLast)) {
      if (active) loudest = Math.max(loudest, energy);
    }
    return 10 * Math.log10(loudest / this.frameLength + 1e-12);
  }

  /**
   * A word in the middle of the model's window, the rest filled with the silence around it, mirrored. Zeros would begin
   * and end with steps in the noise, and a step sounds like the /t/ of "two" or the /s/ of "six".
   */
  window(frames) {
    const word = concatenate(frames.map((frame) => frame.samples));
    const spare = Math.max(0, this.recognizer.info.nSamples - word.length);
    const nBefore = Math.min(frames.length, framesIn(this.vad.mirrored_ms, this.vad)) * this.frameLength;
    const nSilent = frames.length - 1 - frames.findLastIndex((frame) => frame.active);
    const nAfter = Math.min(nSilent * this.frameLength, word.length - nBefore);
    const before = padMirrored(word.subarray(0, nBefore), Math.floor(spare / 2), 0);
    const nFilled = spare - Math.floor(spare / 2);
    const end = word.subarray(word.length - nAfter);
    const after = nAfter ? padMirrored(end, 0, nFilled) : new Float32Array(nFilled);
    return concatenate([before, word.subarray(nBefore, word.length - nAfter), after]);
  }

  /** The answer and the end of the word; the silence after it is the past of the next. */
  close(answer) {
    const events = [...answer, this.event("speech_end")];
    this.lastEnd = this.position - this.silence;
    const isDigit = this.answered > 0 || answer.some((event) => event.kind === "digit");
    const nFrames = (this.answered || this.lastEnd) - this.wordStart;
    this.running = Math.max(0, this.running + (isDigit ? -nFrames : nFrames));
    if (isDigit) this.digitEnd = this.answered || this.lastEnd;
    else this.runningDb = Math.max(this.runningDb, this.levelDb());
    const isSilent = this.silence >= framesIn(this.vad.stable_silence_ms, this.vad);
    const nKept = this.answered && !isSilent ? this.position - this.answered : this.silence;
    this.past = this.word.slice(this.word.length - nKept).slice(-this.nPast);
    this.word = [];
    this.answered = 0;
    return events;
  }

  event(kind) {
    const seconds = (frames) => (frames * this.vad.frame_ms) / 1000;
    return {
      kind,
      timeS: seconds(this.position),
      startS: seconds(this.wordStart),
      endS: seconds(this.position - this.silence),
    };
  }
}
