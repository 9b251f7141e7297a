/** The microphone at its own rate, through an AudioWorklet, as blocks on a port (capture.worklet.js says which). */

import { PageError } from "./manifest.js";

const CONSTRAINTS = {
  audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
};

const GONE = "The microphone is gone: connect it or allow it, then press Start.";

const HALTED = "The browser has halted the sound: close what else uses the microphone, then press Start.";
const MAX_HALT_MS = 1000;

const REFUSALS = {
  NotAllowedError: "The microphone was refused: allow it in the browser's address bar and press Start again.",
  NotFoundError: "No microphone was found: connect one, or drop an audio file here.",
  NotReadableError: "The microphone is in use or does not answer: close other programs that listen, then press Start.",
};

/**
 * Whatever fails, nothing stays open: a microphone that is not listened to must not show as recording.
 * @param {(line: string) => void} onGone called when the device is unplugged, its permission withdrawn or its sound halted
 * @returns {Promise<{port: MessagePort, sampleRate: number, name: string, stop: () => Promise<void>}>}
 */
export async function openMicrophone(onGone) {
  if (!navigator.mediaDevices) {
    throw new PageError("Browsers give the microphone to https and localhost alone: open the page at one of them.");
  }
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
  } catch (error) {
    throw new PageError(REFUSALS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
  const [track] = media.getAudioTracks();
  let context = null;
  let isOpen = true;

  async function stop() {
    isOpen = false;
    track.stop();
    await context?.close();
  }

  /** Browsers suspend sound, as for a telephone call, and a track says nothing of it. */
  function resume() {
    if (!isOpen || context.state === "running") return;
    context.resume().catch(() => {}); // its promise may wait for ever
    setTimeout(() => isOpen && context.state !== "running" && onGone(HALTED), MAX_HALT_MS);
  }

  // From the first moment on: a device that goes while the rest is being prepared ends the waiting for it.
  const gone = new Promise((resolve) => {
    if (track.readyState === "ended") resolve();
    track.addEventListener("ended", resolve);
  });
  async function listen() {
    const { sampleRate } = track.getSettings(); // not every browser says
    context = new AudioContext(sampleRate ? { sampleRate } : {});
    await context.audioWorklet.addModule(new URL("capture.worklet.js", import.meta.url));
    await context.resume();
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    const { port1, port2 } = new MessageChannel();
    capture.port.postMessage(port1, [port1]);
    context.createMediaStreamSource(media).connect(capture);
    return port2;
  }
  try {
    const port = await Promise.race([gone.then(() => Promise.reject(new PageError(GONE))), listen()]);
    gone.then(() => isOpen && onGone(GONE));
    context.addEventListener("statechange", resume);
    resume();
    return { port, sampleRate: context.sampleRate, name: track.label, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
