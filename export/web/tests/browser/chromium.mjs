/** Serves the built page and opens it in headless Chromium; for the tests and for tests/browser/classify.mjs. */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { delimiter, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };

/** Path of Chromium: the environment variable CHROMIUM, or the first of the usual names on the path. */
export function findChromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const folders = (process.env.PATH ?? "").split(delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find((file) => existsSync(file));
  if (found === undefined) throw new Error("Chromium was not found; install it, or name it by CHROMIUM=PATH.");
  return found;
}

/**
 * Serves the folder `dist`, as any host of static files would.
 *
 * @param {Record<string, string | Uint8Array>} extra more files, content by name
 */
async function serve(extra) {
  if (!existsSync(join(DIST, "index.html"))) throw new Error("There is no built page; run `npm run build` first.");
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname)).slice(1);
    const name = path === "" ? "index.html" : path;
    try {
      const content = extra[name] ?? (await readFile(join(DIST, name)));
      const type = TYPES[/** @type {keyof typeof TYPES} */ (extname(name))] ?? "application/octet-stream";
      response.writeHead(200, { "content-type": type }).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { server, origin: `http://localhost:${address.port}` };
}

/**
 * Opens the page.
 *
 * @param {{
 *   files?: Record<string, string | Uint8Array>, query?: string, microphone?: string | "none" | "denied",
 * }} options `files` lie beside the page; `microphone` is a WAV file that is heard over and over, or what goes wrong.
 */
export async function openPage({ files = {}, query = "", microphone = "none" } = {}) {
  const { server, origin } = await serve(files);
  const args = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"];
  if (microphone === "denied") args.push("--use-fake-device-for-media-stream");
  else if (microphone !== "none") {
    args.push("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream");
    args.push(`--use-file-for-fake-audio-capture=${microphone}`);
  }
  const browser = await puppeteer.launch({ executablePath: findChromium(), headless: true, args });
  const page = await browser.newPage();
  /** @type {string[]} */
  const elsewhere = [];
  /** @type {string[]} */
  const defects = [];
  page.on("request", (request) => {
    if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(origin)) elsewhere.push(request.url());
  });
  page.on("pageerror", (error) => defects.push(String(error)));
  // Every result that the page tells of, in their order.
  await page.evaluateOnNewDocument(() => {
    const results = /** @type {unknown[]} */ ([]);
    Object.assign(window, { results });
    window.addEventListener("tfaudio:result", (event) => results.push(/** @type {CustomEvent} */ (event).detail));
  });
  await page.goto(`${origin}/${query}`);
  await page.waitForFunction(() => document.body.dataset.state !== "busy", { timeout: 60_000 });
  return {
    page,
    /** Addresses on other hosts that the page has asked for. */
    elsewhere,
    /** Errors that nothing caught. */
    defects,
    /** @returns {Promise<{source: string, labels: string[], scores: number[], milliseconds: number}[]>} */
    results: () => page.evaluate(() => /** @type {any} */ (window).results),
    status: () => page.$eval("#status", (element) => element.textContent),
    /** @param {string} selector @param {string[]} paths */
    async choose(selector, ...paths) {
      const input = /** @type {import("puppeteer-core").ElementHandle<HTMLInputElement>} */ (await page.$(selector));
      await input.uploadFile(...paths);
      await page.waitForFunction(() => document.body.dataset.state !== "busy", { timeout: 120_000 });
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}
