/** Runs on the audio thread: collects the microphone's quanta of 128 frames into blocks, mixed down to mono. */

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;

const BLOCK_LENGTH = 1024; // samples: a few dozen messages a second

class Capture extends AudioWorkletProcessor {
  private block = new Float32Array(BLOCK_LENGTH);
  private filled = 0;

  process(inputs: Float32Array[][]): boolean {
    const channels = inputs[0] ?? [];
    const length = channels[0]?.length ?? 0;
    for (let at = 0; at < length; at++) {
      let sum = 0;
      for (const channel of channels) sum += channel[at] as number;
      this.block[this.filled++] = sum / channels.length;
      if (this.filled === BLOCK_LENGTH) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.block = new Float32Array(BLOCK_LENGTH);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
