/** Hears the microphone and scores the latest window again and again. */

import { Microphone, resample } from "./audio";
import { UserError } from "./errors";
import type { Model, Result } from "./model";
import { LatestSamples } from "./windows";

const LONGEST_HOP_SECONDS = 0.5;
const WINDOWS_IN_HOP = 0.25;
const PATIENCE_MILLISECONDS = 5000;

export interface LiveEvents {
  /** The rate of the blocks to come, Hz. */
  onStart(sampleRate: number): void;
  onBlock(block: Float32Array): void;
  onResult(result: Result): void;
  onError(error: unknown): void;
  /** The microphone has vanished; nothing follows. */
  onLost(): void;
}

export class Live {
  private microphone: Microphone | undefined;
  private latest = new LatestSamples(0);
  private sinceScored = 0;
  private scoring: Promise<void> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly model: Model,
    private readonly events: LiveEvents,
  ) {}

  async start(): Promise<void> {
    const { sampleRate, windowSamples } = this.model.info;
    this.microphone = await Microphone.open(
      sampleRate,
      (block) => this.hear(block),
      () => {
        this.letGo();
        this.events.onLost();
      },
    );
    this.latest = new LatestSamples(Math.round((windowSamples * this.microphone.sampleRate) / sampleRate));
    this.events.onStart(this.microphone.sampleRate);
    this.silence = setTimeout(() => {
      this.events.onError(new UserError("The browser delivers nothing from the microphone; is sound switched off there?"));
    }, PATIENCE_MILLISECONDS);
  }

  /** Lets go of the microphone, and waits for the window in work. */
  async stop(): Promise<void> {
    this.letGo();
    await this.scoring;
  }

  private letGo(): void {
    clearTimeout(this.silence);
    this.microphone?.close();
    this.microphone = undefined;
  }

  private hear(block: Float32Array): void {
    if (this.microphone === undefined) return; // a block under way while the microphone was closed
    clearTimeout(this.silence);
    const rate = this.microphone.sampleRate;
    this.events.onBlock(block);
    this.latest.push(block);
    this.sinceScored += block.length;
    const windowSeconds = this.model.info.windowSamples / this.model.info.sampleRate;
    const hop = Math.min(LONGEST_HOP_SECONDS, WINDOWS_IN_HOP * windowSeconds) * rate;
    // A device that is too slow skips windows, and never lags behind what it hears.
    if (!this.latest.full || this.sinceScored < hop || this.scoring !== undefined) return;
    this.sinceScored = 0;
    this.scoring = this.score(this.latest.read(), rate)
      .catch((error: unknown) => this.events.onError(error))
      .finally(() => (this.scoring = undefined));
  }

  private async score(heard: Float32Array, rate: number): Promise<void> {
    const { sampleRate, windowSamples } = this.model.info;
    const result = await this.model.scoreWindow(await resample(heard, rate, sampleRate, windowSamples));
    if (this.microphone !== undefined) this.events.onResult(result);
  }
}
