/** The microphone at its own rate, through an AudioWorklet, as blocks on a port. */

import { PageError } from "./manifest.js";

const CONSTRAINTS = {
  audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
};

const REFUSALS = {
  NotAllowedError: "The microphone was refused: allow it in the browser's address bar and press Start again.",
  NotFoundError: "No microphone was found: connect one, or drop an audio file here.",
  NotReadableError: "The microphone is in use or does not answer: close other programs that listen, then press Start.",
};

/**
 * @param {() => void} onGone called when the device is unplugged or its permission withdrawn
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
  const { sampleRate } = track.getSettings(); // not every browser says
  const context = new AudioContext(sampleRate ? { sampleRate } : {});
  await context.audioWorklet.addModule(new URL("capture.worklet.js", import.meta.url));
  await context.resume();
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  const { port1, port2 } = new MessageChannel();
  capture.port.postMessage(port1, [port1]);
  context.createMediaStreamSource(media).connect(capture);
  track.addEventListener("ended", onGone);

  async function stop() {
    track.removeEventListener("ended", onGone);
    track.stop();
    await context.close();
  }
  return { port: port2, sampleRate: context.sampleRate, name: track.label, stop };
}
