/**
 * The built page in headless Chromium. Takes MODEL (a .tflite file), SOUND (a WAV file whose class can be heard at any
 * moment of it) and LABEL (that class) from the environment.
 */

import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { openPage } from "./chromium.mjs";

type Opened = Awaited<ReturnType<typeof openPage>>;

const { MODEL, SOUND, LABEL, SCREENSHOT } = process.env;
if (!MODEL || !SOUND || !LABEL) throw new Error("Set MODEL, SOUND and LABEL; `make test-web` does so.");
const model = readFileSync(MODEL);
const folder = mkdtempSync(join(tmpdir(), "tfaudio-web-"));

let opened: Opened;
afterEach(async () => {
  const { elsewhere, defects } = opened;
  await opened.close();
  expect(elsewhere).toEqual([]);
  expect(defects).toEqual([]);
});

async function open(options: Parameters<typeof openPage>[0] = {}): Promise<Opened> {
  opened = await openPage({ files: { "model.tflite": model }, ...options });
  return opened;
}

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const state = (page: Opened["page"]): Promise<string | undefined> =>
  page.$eval("body", (body) => (body as HTMLElement).dataset.state);

describe("the microphone", () => {
  it("is heard, drawn and classified, and let go of", async () => {
    const { page, results } = await open({ microphone: SOUND });
    await page.click("#start");
    await page.waitForFunction("results.length >= 12", { timeout: 60_000 });
    const heard = (await results()).slice(2).map(({ labels, scores }) => labels[scores.indexOf(Math.max(...scores))]);
    expect(heard.filter((label) => label === LABEL).length).toBeGreaterThan(0.7 * heard.length);
    expect(await page.$$eval("#bars li", (items) => items.length)).toBe(Math.min(5, (await results())[0]!.labels.length));
    expect(await page.$eval("#latency", (element) => element.textContent)).toMatch(/^\d+\.\d ms a window$/);
    const colours = await page.$eval("#spectrogram", (canvas) => {
      const { width, height } = canvas as HTMLCanvasElement;
      const context = (canvas as HTMLCanvasElement).getContext("2d") as CanvasRenderingContext2D;
      const { data } = context.getImageData(0, 0, width, height);
      return new Set(Array.from({ length: data.length / 4 }, (_, at) => data.slice(4 * at, 4 * at + 3).join())).size;
    });
    expect(colours).toBeGreaterThan(50);
    if (SCREENSHOT) {
      await page.setViewport({ width: 760, height: 600 });
      await page.waitForFunction("results.length >= 24", { timeout: 60_000 });
      await page.screenshot({ path: SCREENSHOT as `${string}.png`, optimizeForSpeed: false });
    }
    await page.click("#stop");
    await page.waitForFunction(() => document.body.dataset.state === "ready");
    const count = (await results()).length;
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await results()).toHaveLength(count);
  });

  it("is resampled where the browser hears it at one rate only, as Firefox does", async () => {
    const { page, results } = await open({ microphone: SOUND });
    const [own, asked] = await page.evaluate(() => {
      const rate = new AudioContext().sampleRate;
      const original = AudioContext.prototype.createMediaStreamSource;
      AudioContext.prototype.createMediaStreamSource = function (stream) {
        if (this.sampleRate !== rate) throw new DOMException("another sample-rate", "NotSupportedError");
        return original.call(this, stream);
      };
      return [rate, document.getElementById("model")?.textContent ?? ""] as const;
    });
    expect(asked).not.toContain(` ${own} Hz`); // else nothing is tested here
    await page.click("#start");
    await page.waitForFunction("results.length >= 8", { timeout: 60_000 });
    expect(await page.$eval("#top-frequency", (element) => element.textContent)).toBe(`${own / 2000} kHz`);
    const heard = (await results()).slice(2).map(({ labels, scores }) => labels[scores.indexOf(Math.max(...scores))]);
    expect(heard.filter((label) => label === LABEL).length).toBeGreaterThan(0.7 * heard.length);
  });

  it("that is not there, or not allowed, is said so", async () => {
    let { page, status } = await open({ microphone: "none" });
    await page.click("#start");
    await page.waitForSelector("#status.error");
    expect(await status()).toContain("No microphone was found");
    await opened.close();
    ({ page, status } = await open({ microphone: "denied" }));
    await page.click("#start");
    await page.waitForSelector("#status.error");
    expect(await status()).toContain("may not use the microphone");
    expect(await state(page)).toBe("ready");
  });

  it("that vanishes ends the listening, and can be started again", async () => {
    const { page, status } = await open({ microphone: SOUND });
    await page.evaluate(() => {
      const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (constraints) => {
        const stream = await original(constraints);
        Object.assign(window, { track: stream.getAudioTracks()[0] });
        return stream;
      };
    });
    await page.click("#start");
    await page.waitForFunction("results.length >= 2");
    await page.evaluate("track.dispatchEvent(new Event('ended'))"); // what a browser does when it is unplugged
    await page.waitForSelector("#status.error");
    expect(await status()).toContain("The microphone is gone");
    await page.click("#start");
    await page.waitForFunction(() => document.body.dataset.state === "listening");
  });
});

describe("files", () => {
  it("are classified, and one that is no audio is named", async () => {
    const { page, choose, results } = await open();
    await choose("#sounds", SOUND, write("noise.wav", "this is no audio"));
    const [result, ...others] = await results();
    expect(others).toEqual([]);
    expect(result!.source).toBe(basename(SOUND));
    expect(result!.labels[result!.scores.indexOf(Math.max(...result!.scores))]).toBe(LABEL);
    const rows = await page.$$eval("#files tr", (items) => items.map((item) => item.textContent));
    expect(rows[0]).toContain(LABEL);
    expect(rows[1]).toContain("noise.wav cannot be decoded");
  });
});

describe("a model", () => {
  it("that is missing can be chosen from disk", async () => {
    const { page, choose, status } = await open({ files: {} });
    expect(await state(page)).toBe("no model");
    expect(await status()).toContain("Choose a model");
    await choose("#model-file", MODEL);
    expect(await state(page)).toBe("ready");
  });

  it.each([
    ["no_model.tflite", Buffer.from("<!doctype html>"), "is not a TFLite file"],
    ["cut.tflite", model.subarray(0, model.length - 2000), "carries no labels and settings"],
    ["changed.tflite", Buffer.from(model).fill(7, 5000, 5100), "is damaged"],
  ])("that cannot be used is refused: %s", async (name, content, message) => {
    const { page, choose, status } = await open();
    await choose("#model-file", write(name, content));
    expect(await status()).toContain(message);
    expect(await state(page)).toBe("ready"); // with the model that it had
  });

  it("is loaded from the address that the page's own address names", async () => {
    const { page } = await open({ files: { "a b.tflite": model }, query: "?model=a%20b.tflite" });
    expect(await page.$eval("#model", (element) => element.textContent)).toContain("a b.tflite");
    await opened.close();
    const { status } = await open({ files: {}, query: "?model=none.tflite" });
    expect(await status()).toContain("status 404");
  });
});
