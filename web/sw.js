/**
 * Keeps the page for times without a network: everything is stored when it is first opened. What the network has is
 * taken first, so that a new model or page is never hidden by an old one. Nothing waits for storing, and where there is
 * no room the old copy stays.
 */

const CACHE = "edgedigit";
const FILES = [
  "./",
  "style.css",
  "app.js",
  "activity.js",
  "audio_file.js",
  "backlog.js",
  "capture.worklet.js",
  "history.js",
  "load.js",
  "manifest.js",
  "microphone.js",
  "pictures.js",
  "recognizer.js",
  "recognizer.worker.js",
  "resampler.js",
  "spectrum.js",
  "stream.js",
  "webrtc_vad.js",
  "window.js",
  "model/manifest.json",
  "model/model.onnx",
  "vendor/fvad.js",
  "vendor/fvad.wasm",
  "vendor/ort.wasm.bundle.min.mjs",
  "vendor/ort-wasm-simd-threaded.wasm",
];
const [MANIFEST, MODEL] = FILES.filter((name) => name.startsWith("model/"));
const urlOf = (name) => new URL(name, location.href).href;
const KEPT = new Map(FILES.map((name) => [urlOf(name), name]));
KEPT.set(urlOf("index.html"), "./");

addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
  skipWaiting();
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

/** Other programs may be served here at other times: what is none of these files is left to them. */
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  const name = KEPT.get(url.replace(/[?#].*/, ""));
  if (method === "GET" && name) event.respondWith(answer(event, name));
});

async function answer(event, name) {
  let response;
  try {
    response = await fetch(event.request);
  } catch (error) {
    const cache = await caches.open(CACHE);
    const stored = await cache.match(urlOf(name));
    if (stored) return stored;
    throw error;
  }
  if (response.ok) event.waitUntil(keep(name, response).catch(() => {})); // no room, or storage is forbidden
  return response;
}

/**
 * Store an answer. Of the model and its manifest neither works with another's: they are fetched once more, after the
 * page has both, and stored together or not at all.
 */
async function keep(name, response) {
  if (name === MANIFEST) return;
  const copy = name === MODEL ? null : response.clone(); // at once, before the page reads it
  const cache = await caches.open(CACHE);
  await (copy ? cache.put(urlOf(name), copy) : cache.addAll([MANIFEST, MODEL]));
}
