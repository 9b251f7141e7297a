/** Waveform, spectrogram and probabilities on canvases, in the colours of the style sheet. */

const FLOOR_DB = -80; // darkest
const CEILING_DB = -20; // brightest: speech at a usual distance
const MARGIN = 24; // pixels above the waveform for what was heard
const AXIS = 18; // pixels below the spectrogram for seconds

/** A canvas as many device pixels as it takes up on the screen, drawn upon in CSS pixels. */
function prepare(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio;
  const [pixelWidth, pixelHeight] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== pixelWidth || canvas.height !== pixelHeight) {
    [canvas.width, canvas.height] = [pixelWidth, pixelHeight];
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  context.font = `600 13px ${style.fontFamily}`;
  return { context, width, height, colour };
}

/** The sound of the last seconds, newest at the right, speech in the accent colour, what was heard above it. */
export function drawWaveform(canvas, history) {
  const { context, width, height, colour } = prepare(canvas);
  const step = width / history.nColumns;
  const xOf = (column) => width - (history.nSeen - column) * step;
  context.fillStyle = colour("word");
  for (const { start, end } of history.words) context.fillRect(xOf(start), 0, (end - start) * step, height);

  const left = width - history.columns.length * step;
  const middle = MARGIN + (height - MARGIN) / 2;
  const loudest = history.columns.reduce((most, { low, high }) => Math.max(most, -low, high), 0.02);
  const scale = (height - MARGIN) / 2 / loudest;
  const [accent, quiet] = [colour("accent"), colour("quiet")]; // asking for one takes longer than drawing with it
  history.columns.forEach(({ low, high, speaking }, i) => {
    context.fillStyle = speaking ? accent : quiet;
    const top = middle - high * scale;
    context.fillRect(left + i * step, top, Math.max(step, 1), Math.max((high - low) * scale, 1));
  });

  context.fillStyle = colour("text");
  context.textAlign = "center";
  context.font = context.font.replace("13px", "17px");
  for (const { text, start, end } of history.words) context.fillText(text, xOf((start + end) / 2), MARGIN - 6);
}

/** Frequencies of the same seconds, low ones at the bottom, and the seconds below. */
export function drawSpectrogram(canvas, history) {
  const { context, width, height, colour } = prepare(canvas);
  const bottom = height - AXIS;
  const ramp = colourRamp(["heat-0", "heat-1", "heat-2", "heat-3"].map(colour));
  context.fillStyle = colour("heat-0");
  context.fillRect(0, 0, width, bottom);
  if (history.columns.length) {
    const nBins = history.columns[0].spectrum.length;
    const image = new ImageData(history.columns.length, nBins);
    const pixels = new Uint32Array(image.data.buffer);
    const scale = 255 / (CEILING_DB - FLOOR_DB);
    history.columns.forEach(({ spectrum }, x) => {
      for (let bin = 0, at = (nBins - 1) * image.width + x; bin < nBins; bin++, at -= image.width) {
        pixels[at] = ramp[Math.round(Math.min(Math.max((spectrum[bin] - FLOOR_DB) * scale, 0), 255))];
      }
    });
    const small = new OffscreenCanvas(image.width, image.height);
    small.getContext("2d").putImageData(image, 0, 0);
    const drawnWidth = (width * image.width) / history.nColumns;
    context.drawImage(small, width - drawnWidth, 0, drawnWidth, bottom);
  }

  context.fillStyle = colour("muted");
  context.font = context.font.replace("600 13px", "12px");
  for (let ago = 0; ago <= history.seconds; ago++) {
    context.textAlign = ago === 0 ? "right" : ago === history.seconds ? "left" : "center";
    context.fillText(ago ? `−${ago} s` : "now", width * (1 - ago / history.seconds), height - 3);
  }
  const highest = `${history.sampleRate / 2000} kHz`;
  context.fillStyle = colour("panel"); // the sound below may have any colour
  context.fillRect(0, 0, context.measureText(highest).width + 10, 19);
  context.fillStyle = colour("muted");
  context.textAlign = "left";
  context.fillText(highest, 5, 14);
}

/** A bar for each label; a null `probabilities` leaves them empty. */
export function drawProbabilities(canvas, labels, probabilities, threshold) {
  const { context, width, height, colour } = prepare(canvas);
  const step = width / labels.length;
  const bar = Math.min(step * 0.7, 44);
  const full = height - 40; // 20 pixels below for labels, 20 above for figures
  context.textAlign = "center";
  const [track, text, accent, quiet] = ["track", "text", "accent", "quiet"].map(colour);
  labels.forEach((label, i) => {
    const [x, y] = [(i + 0.5) * step, 20];
    context.fillStyle = track;
    context.fillRect(x - bar / 2, y, bar, full);
    context.fillStyle = text;
    context.fillText(label, x, height - 4, step);
    const probability = probabilities?.[i] ?? 0;
    context.fillStyle = probability >= threshold ? accent : quiet;
    context.fillRect(x - bar / 2, y + full * (1 - probability), bar, full * probability);
    if (probability < 0.01) return;
    context.fillStyle = text;
    context.fillText((100 * probability).toFixed(0), x, y + full * (1 - probability) - 4, step);
  });
}

/** 256 colours, each RGBA in one number as image data has it, evenly through stops written as #rrggbb. */
export function colourRamp(stops) {
  const colours = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const bytes = new Uint8ClampedArray(4 * 256).fill(255); // which rounds
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (colours.length - 1);
    const below = Math.min(Math.floor(at), colours.length - 2);
    bytes.set(
      colours[below].map((value, k) => value + (at - below) * (colours[below + 1][k] - value)),
      4 * i,
    );
  }
  return new Uint32Array(bytes.buffer);
}
