/** Sound from a file or from the microphone, as mono samples in [-1, 1]. */

import captureUrl from "./capture.worklet.ts?worker&url";
import { UserError } from "./errors";

/**
 * Decodes a file in any format that the browser knows, resampled by it to `sampleRate`.
 *
 * @throws UserError if the browser cannot decode it, or it holds no sound
 */
export async function decodeFile(file: File, sampleRate: number): Promise<Float32Array> {
  let buffer: AudioBuffer;
  const context = contextOf(sampleRate);
  try {
    buffer = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new UserError(
      `${file.name} cannot be decoded: it is no audio, damaged, or of a format that this browser does not know; ` +
        "convert it to WAV.",
    );
  }
  if (buffer.length === 0) throw new UserError(`${file.name} holds no samples; record it again.`);
  return mixDown(buffer);
}

/** A context that decodes and resamples; browsers need not take rates outside of 8 to 96 kHz. */
function contextOf(sampleRate: number): OfflineAudioContext {
  try {
    return new OfflineAudioContext(1, 1, sampleRate);
  } catch {
    throw new UserError(`This browser takes no audio of ${sampleRate} Hz, as the model does; try another browser.`);
  }
}

/** Changes the rate of a waveform by the browser's own resampler. */
export async function resample(waveform: Float32Array, from: number, to: number, length: number): Promise<Float32Array> {
  if (from === to) return waveform;
  const context = new OfflineAudioContext(1, length, to);
  const buffer = context.createBuffer(1, waveform.length, from);
  buffer.getChannelData(0).set(waveform);
  const source = context.createBufferSource();
  source.buffer = buffer; // copies, so what is written later is not heard
  source.connect(context.destination);
  source.start();
  return mixDown(await context.startRendering());
}

function mixDown(buffer: AudioBuffer): Float32Array {
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    buffer.getChannelData(channel).forEach((value, at) => (mono[at] = (mono[at] as number) + value));
  }
  return mono.map((value) => value / buffer.numberOfChannels);
}

export class Microphone {
  private constructor(
    private readonly context: AudioContext,
    private readonly stream: MediaStream,
  ) {}

  /** Hz of the blocks: the rate asked for, except in browsers that cannot resample a microphone. */
  get sampleRate(): number {
    return this.context.sampleRate;
  }

  /**
   * Asks for the microphone and starts listening.
   *
   * @param sampleRate Hz that the model takes
   * @param onBlock gets the samples as they come
   * @param onLost is called if the microphone vanishes
   * @throws UserError if there is no microphone, or the page may not use it
   */
  static async open(
    sampleRate: number,
    onBlock: (block: Float32Array) => void,
    onLost: () => void,
  ): Promise<Microphone> {
    if (navigator.mediaDevices === undefined) {
      throw new UserError("Browsers give the microphone only to pages under https or on localhost; open it there.");
    }
    let stream: MediaStream;
    try {
      // What calls are cleaned with would change the sound that the model was trained on.
      const untouched = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...untouched } });
    } catch (error) {
      throw microphoneError(error);
    }
    let context: AudioContext | undefined;
    try {
      const listening = listen(stream, sampleRate);
      context = listening.context;
      await context.audioWorklet.addModule(captureUrl);
      const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
      capture.port.onmessage = (message: MessageEvent<Float32Array>) => onBlock(message.data);
      listening.source.connect(capture);
    } catch (error) {
      stop(context, stream);
      throw error;
    }
    void context.resume(); // never resolves on a machine without sound output
    stream.getAudioTracks()[0]?.addEventListener("ended", onLost);
    return new Microphone(context, stream);
  }

  close(): void {
    stop(this.context, this.stream);
  }
}

function stop(context: AudioContext | undefined, stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
  void context?.close();
}

/** A context at the model's rate, so that the browser resamples; some refuse the rate, or a microphone at another. */
function listen(stream: MediaStream, sampleRate: number): { context: AudioContext; source: AudioNode } {
  try {
    return sourceIn(new AudioContext({ sampleRate }), stream);
  } catch {
    return sourceIn(new AudioContext(), stream);
  }
}

function sourceIn(context: AudioContext, stream: MediaStream): { context: AudioContext; source: AudioNode } {
  try {
    return { context, source: context.createMediaStreamSource(stream) };
  } catch (error) {
    void context.close();
    throw error;
  }
}

function microphoneError(error: unknown): Error {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotFoundError") return new UserError("No microphone was found; connect one, or choose a file.");
  if (name === "NotAllowedError") {
    return new UserError(
      "The page may not use the microphone; allow it in the browser's address bar and start again, or choose a file.",
    );
  }
  if (name === "NotReadableError") {
    return new UserError("The microphone is in use by another program; close that one and start again.");
  }
  return error instanceof Error ? error : new Error(String(error));
}
