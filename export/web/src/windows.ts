/** How a recording is cut into the windows that a model takes: the rule of tfaudio.config.ClipConfig. */

import { UserError } from "./errors";
import type { ModelInfo } from "./metadata";

/** Full scale is 1; samples beyond this are integers that nobody divided (as tfaudio.config says). */
const LARGEST_SAMPLE = 64;

/** Refuses samples that no model was trained on. */
export function checkSamples(samples: Float32Array): void {
  if (!samples.every(Number.isFinite)) throw new UserError("The audio holds samples that are no numbers.");
  if (!samples.every((sample) => Math.abs(sample) <= LARGEST_SAMPLE)) {
    throw new UserError("The audio holds samples far beyond full scale: integers stored as floats; divide them first.");
  }
}

/** A length in samples as Python rounds it, half to even: at least one. */
export function samplesOf(seconds: number, sampleRate: number): number {
  const exact = seconds * sampleRate;
  const whole = Math.floor(exact);
  return Math.max(1, exact - whole === 0.5 ? whole + (whole % 2) : Math.round(exact));
}

export type Clip = Pick<ModelInfo, "windowSamples" | "hopSamples" | "short">;

/**
 * Number of windows of a recording: enough to cover it, at least one. A rest shorter than half a window behind the
 * last whole one is dropped.
 */
export function countWindows(samples: number, { windowSamples, hopSamples }: Clip): number {
  const leastRest = Math.max(1, hopSamples - Math.floor(windowSamples / 2));
  return 1 + Math.floor((Math.max(0, samples - windowSamples) + hopSamples - leastRest) / hopSamples);
}

/** Yields the windows, each [windowSamples]; what reaches beyond the end is filled as the model was trained. */
export function* cutWindows(waveform: Float32Array, clip: Clip): Generator<Float32Array> {
  for (let index = 0; index < countWindows(waveform.length, clip); index++) {
    const start = index * clip.hopSamples;
    yield fill(waveform.subarray(start, start + clip.windowSamples), clip);
  }
}

function fill(part: Float32Array, { windowSamples, short }: Clip): Float32Array {
  const window = new Float32Array(windowSamples);
  window.set(part);
  if (short === "tile" && part.length > 0) {
    for (let at = part.length; at < windowSamples; at++) window[at] = window[at - part.length] as number;
  }
  return window;
}

/** The latest samples of a stream, as many as a window holds. */
export class LatestSamples {
  private readonly ring: Float32Array;
  private position = 0;
  private heard = 0;

  constructor(length: number) {
    this.ring = new Float32Array(length);
  }

  /** True once a whole window was heard. */
  get full(): boolean {
    return this.heard >= this.ring.length;
  }

  push(block: Float32Array): void {
    const part = block.subarray(Math.max(0, block.length - this.ring.length));
    const head = part.subarray(0, this.ring.length - this.position);
    this.ring.set(head, this.position);
    this.ring.set(part.subarray(head.length), 0);
    this.position = (this.position + part.length) % this.ring.length;
    this.heard += block.length;
  }

  /** A copy, oldest sample first. */
  read(): Float32Array {
    const window = new Float32Array(this.ring.length);
    window.set(this.ring.subarray(this.position));
    window.set(this.ring.subarray(0, this.position), this.ring.length - this.position);
    return window;
  }
}
