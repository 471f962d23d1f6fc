/** Draws sound as a picture: time to the right, frequency upwards, one column a frame. */

import { PowerSpectrum } from "./fft";

const LOWEST_DB = -95; // relative to a sine at full scale
const HIGHEST_DB = -15;
const SMALLEST_POWER = 1e-12;

// Dark to bright, evenly spaced in lightness.
const COLOURS: readonly (readonly [number, number, number])[] = [
  [8, 8, 24],
  [44, 24, 92],
  [112, 32, 120],
  [178, 52, 104],
  [228, 94, 72],
  [250, 158, 64],
  [252, 228, 148],
];

export interface Frames {
  /** Hz. */
  readonly sampleRate: number;
  /** Samples. */
  readonly frameLength: number;
  readonly frameStep: number;
}

export class Spectrogram {
  private readonly context: CanvasRenderingContext2D;
  private readonly column: ImageData;
  private spectrum: PowerSpectrum;
  private frames: Frames;
  private held = new Float32Array(0);

  constructor(canvas: HTMLCanvasElement, frames: Frames) {
    this.context = canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D;
    this.column = this.context.createImageData(1, canvas.height);
    this.frames = frames;
    this.spectrum = spectrumOf(frames);
    this.reset(frames);
  }

  /** Clears the picture; sound with these frames follows. */
  reset(frames: Frames): void {
    this.frames = frames;
    this.spectrum = spectrumOf(frames);
    this.held = new Float32Array(0);
    this.context.fillStyle = cssOf(COLOURS[0] as readonly [number, number, number]);
    this.context.fillRect(0, 0, this.width, this.height);
  }

  /** Draws the next samples of a stream at the right edge, moving the rest to the left. */
  push(samples: Float32Array): void {
    const { frameLength, frameStep } = this.frames;
    const joined = new Float32Array(this.held.length + samples.length);
    joined.set(this.held);
    joined.set(samples, this.held.length);
    const count = Math.max(0, Math.floor((joined.length - frameLength) / frameStep) + 1);
    const drawn = Math.min(count, this.width);
    if (drawn > 0) this.context.drawImage(this.context.canvas, -drawn, 0);
    for (let at = 0; at < drawn; at++) {
      const start = (count - drawn + at) * frameStep;
      this.drawColumn(joined.subarray(start, start + frameLength), this.width - drawn + at);
    }
    this.held = joined.slice(count * frameStep);
  }

  /** Draws a whole recording over the whole width. */
  drawRecording(waveform: Float32Array): void {
    const { frameLength } = this.frames;
    const padded = new Float32Array(Math.max(waveform.length, frameLength));
    padded.set(waveform);
    for (let at = 0; at < this.width; at++) {
      const start = Math.round((at * (padded.length - frameLength)) / (this.width - 1));
      this.drawColumn(padded.subarray(start, start + frameLength), at);
    }
  }

  private get width(): number {
    return this.context.canvas.width;
  }

  private get height(): number {
    return this.context.canvas.height;
  }

  private drawColumn(frame: Float32Array, x: number): void {
    const power = this.spectrum.of(frame);
    for (let row = 0; row < this.height; row++) {
      // The loudest of the bins that fall on a row, so that no line is lost between two.
      const [low, high] = [row, row + 1].map((edge) => ((this.height - edge) * (power.length - 1)) / this.height);
      let loudest = SMALLEST_POWER;
      for (let bin = Math.floor(high as number); bin <= Math.ceil(low as number); bin++) {
        loudest = Math.max(loudest, power[bin] as number);
      }
      const share = (10 * Math.log10(loudest) - LOWEST_DB) / (HIGHEST_DB - LOWEST_DB);
      this.column.data.set([...colourOf(share), 255], 4 * row);
    }
    this.context.putImageData(this.column, x, 0);
  }
}

function spectrumOf({ frameLength }: Frames): PowerSpectrum {
  return new PowerSpectrum(frameLength, 2 ** Math.ceil(Math.log2(Math.max(frameLength, 256))));
}

function colourOf(share: number): [number, number, number] {
  const place = Math.min(Math.max(share, 0), 1) * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  const [from, to] = [COLOURS[below], COLOURS[below + 1]] as [readonly number[], readonly number[]];
  return from.map((value, at) => value + (place - below) * ((to[at] as number) - value)) as [number, number, number];
}

function cssOf([red, green, blue]: readonly [number, number, number]): string {
  return `rgb(${red} ${green} ${blue})`;
}
