/**
 * `node tests/browser/classify.mjs MODEL WAV...`: classifies files by the built page, through its file input, in
 * headless Chromium; prints JSON: {"client", "labels", "scores": {path: [...]}}.
 */

import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { openPage } from "./chromium.mjs";

const [model, ...sounds] = process.argv.slice(2);
if (model === undefined || sounds.length === 0) {
  console.error("usage: node tests/browser/classify.mjs MODEL WAV...");
  process.exit(2);
}
const opened = await openPage({ files: { "model.tflite": await readFile(model) } });
try {
  if ((await opened.page.$eval("body", (body) => body.dataset.state)) !== "ready") {
    throw new Error(String(await opened.status()));
  }
  await opened.choose("#sounds", ...sounds);
  const results = await opened.results();
  const names = sounds.map((path) => basename(path));
  const missing = names.filter((name) => !results.some((result) => result.source === name));
  if (missing.length > 0) throw new Error(`The page could not classify ${missing.join(", ")}.`);
  const version = await opened.page.browser().version();
  const scores = Object.fromEntries(
    sounds.map((path) => [path, results.find(({ source }) => source === basename(path))?.scores]),
  );
  console.log(JSON.stringify({ client: version.replace("Headless", ""), labels: results[0]?.labels, scores }));
} catch (error) {
  console.error(`classify.mjs: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  await opened.close();
}
