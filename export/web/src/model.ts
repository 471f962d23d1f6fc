/** A classifier of one file: LiteRT runs it, compiled to WebAssembly, on the CPU. */

import { loadAndCompile, loadLiteRt, Tensor, type CompiledModel } from "@litertjs/core";
import { UserError } from "./errors";
import { readModelInfo, type ModelInfo } from "./metadata";
import { checkSamples, cutWindows } from "./windows";

export interface Result {
  /** One a label. */
  readonly scores: Float32Array;
  /** That one window took. */
  readonly milliseconds: number;
}

let runtime: Promise<unknown> | undefined;

/** Loads the interpreter, once, from the folder `wasm` beside the page. */
function loadRuntime(): Promise<unknown> {
  runtime ??= loadLiteRt(new URL("wasm/", document.baseURI).href).catch((error: unknown) => {
    runtime = undefined;
    throw new UserError(
      `The interpreter could not be loaded from ${new URL("wasm/", document.baseURI).href} (${String(error)}); ` +
        "put the whole build folder on the server, and take a browser with WebAssembly SIMD.",
    );
  });
  return runtime;
}

export class Model {
  private constructor(
    readonly info: ModelInfo,
    readonly name: string,
    private readonly compiled: CompiledModel,
  ) {}

  /**
   * @param bytes a .tflite file that `tfaudio export` wrote
   * @param name what messages call it
   * @throws UserError if the file cannot be used
   */
  static async load(bytes: Uint8Array, name: string): Promise<Model> {
    const info = await readModelInfo(bytes, name);
    await loadRuntime();
    let compiled: CompiledModel;
    try {
      compiled = await loadAndCompile(bytes, { accelerator: "wasm" });
    } catch (error) {
      throw new UserError(`${name} does not run on this interpreter (${String(error)}); try the float32 file.`);
    }
    const [input, output] = [compiled.getInputDetails()[0], compiled.getOutputDetails()[0]];
    const expected = { in: [1, info.windowSamples], out: [1, info.labels.length] };
    const found = { in: Array.from(input?.shape ?? []), out: Array.from(output?.shape ?? []) };
    if (JSON.stringify(found) !== JSON.stringify(expected)) {
      compiled.delete();
      throw new UserError(
        `${name} maps [${found.in}] to [${found.out}], but its settings say [${expected.in}] to [${expected.out}]; ` +
          "export it again.",
      );
    }
    return new Model(info, name, compiled);
  }

  /** Scores one window of `info.windowSamples` samples at `info.sampleRate`, in [-1, 1]. */
  async scoreWindow(window: Float32Array): Promise<Result> {
    checkSamples(window);
    const started = performance.now();
    const input = new Tensor(window, [1, window.length]);
    let outputs: Tensor[] = [];
    try {
      outputs = await this.compiled.run(input);
      const scores = Float32Array.from((await (outputs[0] as Tensor).data()) as Float32Array);
      if (!scores.every(Number.isFinite)) throw new UserError(`${this.name} gives scores that are no numbers.`);
      return { scores, milliseconds: performance.now() - started };
    } finally {
      for (const tensor of [input, ...outputs]) tensor.delete();
    }
  }

  /** Scores a recording at `info.sampleRate`: the mean over its windows, each counting alike. */
  async scoreRecording(waveform: Float32Array): Promise<Result> {
    const total = new Float64Array(this.info.labels.length);
    let count = 0;
    let milliseconds = 0;
    for (const window of cutWindows(waveform, this.info)) {
      const result = await this.scoreWindow(window);
      result.scores.forEach((score, index) => (total[index] = (total[index] as number) + score));
      milliseconds += result.milliseconds;
      count += 1;
    }
    return { scores: Float32Array.from(total, (sum) => sum / count), milliseconds: milliseconds / count };
  }

  close(): void {
    this.compiled.delete();
  }
}
