/**
 * Keeps the page for times without a network: everything is stored when it is first opened. What the network has is
 * taken first, so that a new model or page is never hidden by an old one.
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

addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
  skipWaiting();
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const stored = await cache.match(request, { ignoreSearch: true });
    if (stored) return stored;
    throw error;
  }
}
