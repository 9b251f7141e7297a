/** The service worker beside a network and a cache that are made up: `node --test tests/web/sw.test.js`. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";

const SITE = "http://here/";
const CODE = readFileSync(new URL("../../web/sw.js", import.meta.url), "utf8");

class FakeResponse {
  constructor(body, ok = true) {
    Object.assign(this, { body, ok });
  }

  clone() {
    return new FakeResponse(this.body, this.ok);
  }
}

/**
 * A worker; it gives null for what it leaves to the browser. `network` has bodies by name, null where there is none;
 * `stored` likewise, of the cache; `room()` is called before anything is stored.
 */
function worker({ network, stored = {}, room = async () => {} }) {
  const listeners = {};
  const nameOf = (request) => (request.url ?? request).slice(SITE.length);
  const fetch = async (request) => {
    if (!network) throw new TypeError("Failed to fetch");
    return new FakeResponse(network[nameOf(request)], nameOf(request) in network);
  };
  const cache = {
    async put(request, response) {
      await room();
      stored[nameOf(request)] = response.body;
    },
    async addAll(names) {
      await room();
      for (const name of names) stored[name] = network[name];
    },
    match: async (request) => (nameOf(request) in stored ? new FakeResponse(stored[nameOf(request)]) : undefined),
  };
  const scope = {
    addEventListener: (type, listener) => (listeners[type] = listener),
    caches: { open: async () => cache },
    location: { href: `${SITE}sw.js` },
    fetch,
    URL,
  };
  runInContext(CODE, createContext(scope));
  return async (name) => {
    let response;
    const waiting = [];
    listeners.fetch({
      request: { method: "GET", url: SITE + name },
      respondWith: (promise) => (response = promise),
      waitUntil: (promise) => waiting.push(promise),
    });
    if (!response) return null;
    const { body, ok } = await response;
    return { body, ok, stored: Promise.all(waiting) };
  };
}

const NO_ROOM = async () => {
  throw new Error("QuotaExceededError");
};

test("what the network has is given and stored", async () => {
  const stored = { "app.js": "old" };
  const answer = await worker({ network: { "app.js": "new" }, stored })("app.js");
  await answer.stored;
  assert.deepEqual([answer.body, stored], ["new", { "app.js": "new" }]);
});

test("without a network what is stored is given, and what is not is missing", async () => {
  const ask = worker({ network: null, stored: { "app.js": "old" } });
  assert.equal((await ask("app.js")).body, "old");
  await assert.rejects(ask("style.css"), TypeError);
});

for (const name of ["app.js", "model/model.onnx"]) {
  test(`what the network has is given though there is no room to store ${name}`, async () => {
    const stored = { [name]: "old" };
    const answer = await worker({ network: { [name]: "new" }, stored, room: NO_ROOM })(name);
    await answer.stored; // without an error that nobody handles
    assert.deepEqual([answer.body, stored], ["new", { [name]: "old" }]);
  });

  test(`nothing waits for ${name} to be stored`, async () => {
    const never = () => new Promise(() => {});
    assert.equal((await worker({ network: { [name]: "new" }, room: never })(name)).body, "new");
  });
}

test("an answer that says no is given and not stored", async () => {
  const stored = { "app.js": "old" };
  const answer = await worker({ network: {}, stored })("app.js");
  await answer.stored;
  assert.deepEqual([answer.ok, stored], [false, { "app.js": "old" }]);
});

test("a manifest is stored with its model alone", async () => {
  const network = { "model/manifest.json": "new", "model/model.onnx": "new" };
  const stored = { "model/manifest.json": "old", "model/model.onnx": "old" };
  const ask = worker({ network, stored });
  const manifest = await ask("model/manifest.json");
  await manifest.stored;
  assert.deepEqual([manifest.body, stored["model/manifest.json"]], ["new", "old"]);
  await (await ask("model/model.onnx")).stored;
  assert.deepEqual(stored, network);
});

test("the page is one, whatever it is called and asked", async () => {
  const stored = {};
  for (const name of ["", "index.html", "index.html?again"]) {
    await (await worker({ network: { [name]: name }, stored })(name)).stored;
    assert.deepEqual(stored, { "": name });
    assert.equal((await worker({ network: null, stored })("index.html")).body, name);
  }
});

test("what is no file of the site is left to whoever is served there", async () => {
  const [network, stored] = [{ "other.txt": "theirs", "vendor/": "theirs" }, {}];
  for (const name of Object.keys(network)) assert.equal(await worker({ network, stored })(name), null);
  assert.deepEqual(stored, {});
});
