/** WebRTC's voice activity detector: libfvad compiled to WebAssembly by the package @echogarden/fvad-wasm. */

/**
 * @param {(options: object) => Promise<object>} createFvad the package's default export
 * @param {object} options of Emscripten, such as `locateFile` or `wasmBinary`
 * @param {{aggressiveness: number, sampleRate: number, frameLength: number}} settings frames of 10, 20 or 30 ms
 */
export async function createWebRtcVad(createFvad, options, { aggressiveness, sampleRate, frameLength }) {
  const library = await createFvad(options);
  const handle = library._fvad_new();
  const pcmAt = library._malloc(2 * frameLength);

  function reset() {
    library._fvad_reset(handle); // forgets the settings too
    if (library._fvad_set_mode(handle, aggressiveness) || library._fvad_set_sample_rate(handle, sampleRate)) {
      throw new RangeError(`WebRTC's detector takes no aggressiveness ${aggressiveness} at ${sampleRate} Hz`);
    }
  }

  function isSpeech(pcm) {
    library.HEAP16.set(pcm, pcmAt / 2);
    const answer = library._fvad_process(handle, pcmAt, pcm.length);
    if (answer < 0)
      throw new RangeError(`WebRTC's detector takes frames of 10, 20 or 30 ms, got ${pcm.length} samples`);
    return answer === 1;
  }

  reset();
  return { isSpeech, reset };
}
