/** What a model file says of itself: its labels, the rate it hears at, and the window it takes. */

import { UserError } from "./errors";
import { samplesOf } from "./windows";
import { readArchive } from "./zip";

const LABELS_FILE = "labels.txt";
const SETTINGS_FILE = "tfaudio.json";
const FORMAT_VERSION = 1; // the latest that this page reads

export interface ModelInfo {
  readonly labels: readonly string[];
  /** Hz. */
  readonly sampleRate: number;
  /** Samples in the window that the model takes. */
  readonly windowSamples: number;
  /** Samples from one window of a long recording to the next. */
  readonly hopSamples: number;
  /** What fills a recording shorter than a window: silence, or itself over and over. */
  readonly short: "pad" | "tile";
  /** Samples in a frame of the model's front end, and from one frame to the next. */
  readonly frameLength: number;
  readonly frameStep: number;
  /** The score from which on a class counts as heard, as `tfaudio.runtime` has it. */
  readonly thresholds: Readonly<Record<string, number>>;
  readonly architecture: string;
  readonly variant: string;
}

interface Settings {
  format: number;
  model: string;
  variant: string;
  num_labels: number;
  model_sha256?: string;
  thresholds?: Record<string, number>;
  score_activation?: "softmax" | "sigmoid";
  /** The highest score below which a sound is of none of the classes. */
  unknown_below?: number | null;
  text?: unknown;
  streaming?: unknown;
  front_end: { sample_rate: number; frame_length: number; frame_step: number };
  clip: { seconds: number | null; hop_seconds: number | null; short: "pad" | "tile" };
}

/**
 * Reads the labels and settings inside a TFLite file.
 *
 * @param name what messages call the file
 * @throws UserError if it is no TFLite file, cut short, damaged, or not from tfaudio
 */
export async function readModelInfo(bytes: Uint8Array, name: string): Promise<ModelInfo> {
  if (new TextDecoder("latin1").decode(bytes.subarray(4, 8)) !== "TFL3") {
    throw new UserError(`${name} is not a TFLite file; choose a model_*.tflite file that \`tfaudio export\` wrote.`);
  }
  const archive = readArchive(bytes);
  const labelsFile = archive?.files.get(LABELS_FILE);
  const settingsFile = archive?.files.get(SETTINGS_FILE);
  if (!archive || !labelsFile || !settingsFile) {
    throw new UserError(
      `${name} carries no labels and settings of tfaudio: it is from another tool, or was cut short; ` +
        "copy it again, or export it with `tfaudio export`.",
    );
  }
  const damaged = new UserError(`${name} is damaged; copy it again, or export it again with \`tfaudio export\`.`);
  let settings: Settings;
  try {
    settings = JSON.parse(new TextDecoder().decode(settingsFile)) as Settings;
  } catch {
    throw damaged;
  }
  checkUsable(settings, name);
  const checksum = await sha256(bytes.subarray(0, archive.start));
  if (checksum !== null && settings.model_sha256 !== undefined && checksum !== settings.model_sha256) throw damaged;
  const labels = labelsOf(new TextDecoder().decode(labelsFile));
  if (labels.length !== settings.num_labels) {
    throw new UserError(`${name} has ${settings.num_labels} outputs but ${labels.length} labels; export it again.`);
  }
  const { clip, front_end: frontEnd } = settings;
  if (clip.seconds === null) {
    throw new UserError(`${name} takes recordings whole (clip.seconds is null), and this page hears by windows.`);
  }
  return {
    labels,
    sampleRate: frontEnd.sample_rate,
    windowSamples: samplesOf(clip.seconds, frontEnd.sample_rate),
    hopSamples: samplesOf(clip.hop_seconds ?? clip.seconds, frontEnd.sample_rate),
    short: clip.short,
    frameLength: frontEnd.frame_length,
    frameStep: frontEnd.frame_step,
    thresholds: thresholdsOf(settings, labels),
    architecture: settings.model,
    variant: settings.variant,
  };
}

/** Refuses, with a UserError, models that this page cannot give what they take. */
export function checkUsable(settings: Pick<Settings, "format" | "text" | "streaming">, name: string): void {
  if (settings.text) {
    throw new UserError(`${name} takes a text beside the sound, which this page has not; choose a model of sound alone.`);
  }
  if (settings.streaming) {
    throw new UserError(
      `${name} takes a stream hop by hop, and this page hears by windows; ` +
        "choose model_int8.tflite or model_float32.tflite of the same export.",
    );
  }
  if (settings.format > FORMAT_VERSION) {
    throw new UserError(
      `${name} has settings of format ${settings.format}, and this page reads up to ${FORMAT_VERSION}; ` +
        "build the page from a later tfaudio.",
    );
  }
}

/** The class names of a label file, one a line; spaces may be part of a name. */
export function labelsOf(text: string): string[] {
  return text.split("\n").map((line) => line.replace(/\r$/, "")).filter((line) => line.trim() !== "");
}

/**
 * The score from which on each class counts as heard.
 *
 * Several classes may sound at once where each has a sigmoid: half is then the border, where none was found.
 */
export function thresholdsOf(
  { thresholds, score_activation, unknown_below }: Pick<Settings, "thresholds" | "score_activation" | "unknown_below">,
  labels: readonly string[],
): Record<string, number> {
  const usual = score_activation === "sigmoid" ? 0.5 : 0;
  const own = new Map(Object.entries(thresholds ?? {})); // a label may be called "constructor"
  return Object.fromEntries(labels.map((label) => [label, Math.max(own.get(label) ?? usual, unknown_below ?? 0)]));
}

/** Hexadecimal digest, or null where the browser keeps cryptography for pages under https and localhost. */
async function sha256(bytes: Uint8Array): Promise<string | null> {
  if (globalThis.crypto?.subtle === undefined) return null;
  const digest = await crypto.subtle.digest("SHA-256", new Uint8Array(bytes));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
