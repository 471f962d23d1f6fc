/** All that the page shows; knows nothing of models and microphones. */

import type { ModelInfo } from "./metadata";

const SHOWN = 5; // labels

export interface Ranked {
  readonly label: string;
  readonly score: number;
  /** Whether the score reaches the model's threshold for this class. */
  readonly heard: boolean;
}

/** The best labels, best first. */
export function rank({ labels, thresholds }: Pick<ModelInfo, "labels" | "thresholds">, scores: Float32Array): Ranked[] {
  return labels
    .map((label, index) => {
      const score = scores[index] as number;
      return { label, score, heard: score >= (thresholds[label] ?? 0) };
    })
    .sort((a, b) => b.score - a.score)
    .slice(0, SHOWN);
}

export class View {
  readonly canvas = element("spectrogram", HTMLCanvasElement);
  private readonly start = element("start", HTMLButtonElement);
  private readonly stop = element("stop", HTMLButtonElement);
  private readonly sounds = element("sounds", HTMLInputElement);
  private readonly modelFile = element("model-file", HTMLInputElement);
  private readonly status = element("status", HTMLElement);
  private readonly bars = element("bars", HTMLOListElement);
  private readonly files = element("files", HTMLTableElement);

  onStart(action: () => void): void {
    this.start.addEventListener("click", action);
  }

  onStop(action: () => void): void {
    this.stop.addEventListener("click", action);
  }

  onSounds(action: (files: File[]) => void): void {
    onFiles(this.sounds, action);
  }

  onModel(action: (file: File) => void): void {
    onFiles(this.modelFile, ([file]) => file && action(file));
  }

  /** Which controls make sense now. */
  setState(state: "no model" | "ready" | "busy" | "listening"): void {
    document.body.dataset.state = state;
    this.start.disabled = state !== "ready";
    this.stop.disabled = state !== "listening";
    this.sounds.disabled = state !== "ready";
    this.modelFile.disabled = state === "busy" || state === "listening";
  }

  showModel(info: ModelInfo, name: string): void {
    const seconds = info.windowSamples / info.sampleRate;
    element("model", HTMLElement).textContent =
      `${name}: ${info.architecture}, ${info.variant}, ${info.labels.length} classes, ` +
      `hears ${+seconds.toFixed(3)} s at ${info.sampleRate} Hz`;
  }

  /** What frequency the top of the picture stands for, Hz. */
  showScale(sampleRate: number): void {
    element("top-frequency", HTMLElement).textContent = `${+(sampleRate / 2000).toFixed(2)} kHz`;
  }

  say(message: string, isError = false): void {
    this.status.textContent = message;
    this.status.classList.toggle("error", isError);
  }

  showRanked(ranked: readonly Ranked[]): void {
    this.bars.replaceChildren(...ranked.map(bar));
  }

  /** @param milliseconds that one window took, of late */
  showLatency(milliseconds: number): void {
    element("latency", HTMLElement).textContent = `${milliseconds.toFixed(1)} ms a window`;
  }

  clearFiles(): void {
    this.files.replaceChildren();
  }

  addFile(name: string, outcome: Ranked | string): void {
    const row = this.files.insertRow();
    row.insertCell().textContent = name;
    const label = row.insertCell();
    if (typeof outcome === "string") {
      label.textContent = outcome;
      label.className = "error";
      label.colSpan = 2;
      return;
    }
    label.textContent = outcome.heard ? outcome.label : `${outcome.label} (below its threshold)`;
    row.insertCell().textContent = percent(outcome.score);
  }
}

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} with id ${id}.`);
  return found;
}

function onFiles(input: HTMLInputElement, action: (files: File[]) => void): void {
  input.addEventListener("change", () => {
    const files = Array.from(input.files ?? []);
    input.value = ""; // so that choosing the same file again counts as a change
    if (files.length > 0) action(files);
  });
}

function bar({ label, score, heard }: Ranked): HTMLLIElement {
  const item = document.createElement("li");
  item.classList.toggle("unsure", !heard);
  const [name, meter, value] = ["name", "meter", "value"].map((kind) => {
    const span = document.createElement("span");
    span.className = kind;
    return span;
  }) as [HTMLSpanElement, HTMLSpanElement, HTMLSpanElement];
  name.textContent = label;
  meter.style.setProperty("--score", String(score));
  value.textContent = percent(score);
  item.append(name, meter, value);
  return item;
}

function percent(score: number): string {
  return `${(100 * score).toFixed(1)} %`;
}
