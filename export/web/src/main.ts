/** Joins model, sound and view: the page's own flow. */

import { decodeFile } from "./audio";
import { messageOf, UserError } from "./errors";
import { Live } from "./live";
import { Model, type Result } from "./model";
import { Spectrogram } from "./spectrogram";
import { rank, View } from "./view";

const DEFAULT_MODEL = "model.tflite"; // beside the page
const LATENCIES_KEPT = 20;

const view = new View();
const spectrogram = new Spectrogram(view.canvas, { sampleRate: 16_000, frameLength: 512, frameStep: 256 });
let model: Model | undefined;
let live: Live | undefined;
let latencies: number[] = [];

/** Shows a result, and tells it to scripts that embed the page: window event "tfaudio:result". */
function show(source: string, result: Result): void {
  const { info } = model as Model;
  latencies = [...latencies, result.milliseconds].slice(-LATENCIES_KEPT);
  const sorted = latencies.toSorted((a, b) => a - b);
  view.showRanked(rank(info, result.scores));
  view.showLatency(sorted[Math.floor(sorted.length / 2)] as number);
  const detail = { source, labels: info.labels, scores: Array.from(result.scores), milliseconds: result.milliseconds };
  window.dispatchEvent(new CustomEvent("tfaudio:result", { detail }));
}

function resetPicture(sampleRate: number): void {
  const { frameLength, frameStep, sampleRate: modelRate } = (model as Model).info;
  const scale = sampleRate / modelRate;
  const frames = { frameLength: Math.round(frameLength * scale), frameStep: Math.round(frameStep * scale) };
  spectrogram.reset({ sampleRate, ...frames });
  view.showScale(sampleRate);
}

async function useModel(source: Blob, name: string): Promise<void> {
  view.setState("busy");
  view.say(`Loading ${name} …`);
  try {
    const loaded = await Model.load(new Uint8Array(await source.arrayBuffer()), name);
    model?.close();
    model = loaded;
    latencies = [];
    view.showModel(model.info, name);
    view.showRanked([]);
    resetPicture(model.info.sampleRate);
    view.say("Ready: start the microphone, or choose sound files.");
  } catch (error) {
    view.say(messageOf(error), true);
  }
  view.setState(model ? "ready" : "no model");
}

/** Loads the model that the address names (?model=URL), or the one beside the page. */
async function useFirstModel(): Promise<void> {
  const named = new URLSearchParams(location.search).get("model");
  view.setState("busy");
  try {
    const url = addressOf(named ?? DEFAULT_MODEL);
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok) return await useModel(await response.blob(), baseName(url));
    if (named !== null) {
      const reason = response ? `status ${response.status}` : "no answer, or not allowed from this page";
      throw new UserError(`${url.href} could not be loaded (${reason}); check the address, or choose a file.`);
    }
    view.say("Choose a model: a .tflite file that `tfaudio export` wrote.");
  } catch (error) {
    view.say(messageOf(error), true);
  }
  view.setState("no model");
}

function addressOf(text: string): URL {
  try {
    return new URL(text, document.baseURI);
  } catch {
    throw new UserError(`${text} is no address; mend what follows ?model=, or choose a file.`);
  }
}

function baseName(url: URL): string {
  const name = url.pathname.split("/").at(-1) || url.hostname;
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // a bare % in it
  }
}

async function classifyFiles(files: File[]): Promise<void> {
  const current = model as Model;
  view.setState("busy");
  view.clearFiles();
  let failures = 0;
  for (const [index, file] of files.entries()) {
    view.say(`${file.name}, ${index + 1} of ${files.length} …`);
    try {
      const waveform = await decodeFile(file, current.info.sampleRate);
      resetPicture(current.info.sampleRate);
      spectrogram.drawRecording(waveform);
      const result = await current.scoreRecording(waveform);
      show(file.name, result);
      view.addFile(file.name, rank(current.info, result.scores)[0] ?? "no label");
    } catch (error) {
      failures += 1;
      view.addFile(file.name, messageOf(error));
    }
  }
  const done = files.length - failures;
  const count = files.length === 1 ? "the file" : `${done} of ${files.length} files`;
  view.say(failures === files.length ? "Nothing could be classified." : `Classified ${count}.`, failures > 0);
  view.setState("ready");
}

async function startListening(): Promise<void> {
  view.setState("busy");
  view.say("Waiting for the microphone …");
  view.clearFiles();
  live = new Live(model as Model, {
    onStart: resetPicture,
    onBlock: (block) => spectrogram.push(block),
    onResult: (result) => show("microphone", result),
    onError: (error) => view.say(messageOf(error), true),
    onLost: () => {
      view.say("The microphone is gone; connect it again, and start again.", true);
      view.setState("ready");
    },
  });
  try {
    await live.start();
    view.say("Listening …");
    view.setState("listening");
  } catch (error) {
    view.say(messageOf(error), true);
    view.setState("ready");
  }
}

async function stopListening(): Promise<void> {
  await live?.stop();
  live = undefined;
  view.say("Stopped.");
  view.setState("ready");
}

view.onStart(() => void startListening());
view.onStop(() => void stopListening());
view.onSounds((files) => void classifyFiles(files));
view.onModel((file) => void useModel(file, file.name));
void useFirstModel();
