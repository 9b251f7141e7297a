/**
 * Runs on the audio thread: joins the blocks of 128 samples to longer ones and sends them to the recogniser's port,
 * each as `{samples, lost, sentMs}`: its sound, how many samples before it were dropped because the recogniser had not
 * kept up, and when it was sent. The recogniser answers each with how many samples it has heard.
 */

import { Backlog } from "./backlog.js";

const BLOCK = 512; // samples: 11 ms at 48 kHz

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(BLOCK);
    this.filled = 0;
    this.backlog = new Backlog(sampleRate);
    this.port.onmessage = ({ data }) => {
      this.target = data;
      this.target.onmessage = ({ data: nSamples }) => this.backlog.acknowledge(nSamples);
    };
  }

  process([channels]) {
    if (!channels.length || !this.target) return true;
    for (let i = 0; i < channels[0].length; i++) {
      this.block[this.filled++] = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      if (this.filled === BLOCK) this.send();
    }
    return true;
  }

  send() {
    this.filled = 0;
    const lost = this.backlog.offer(BLOCK);
    if (lost === null) return;
    // The one clock that the audio thread shares with the recogniser.
    this.target.postMessage({ samples: this.block, lost, sentMs: Date.now() }, [this.block.buffer]);
    this.block = new Float32Array(BLOCK);
  }
}

registerProcessor("capture", Capture);
