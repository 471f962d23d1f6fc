/** Power spectra of real frames. */

/**
 * A discrete Fourier transform of one length, with the tables it takes.
 *
 * Source: Cooley and Tukey 1965, radix 2, decimation in time, in place.
 */
export class PowerSpectrum {
  /** Bins from 0 Hz to half the sample rate. */
  readonly bins: number;
  private readonly window: Float32Array;
  private readonly real: Float32Array;
  private readonly imaginary: Float32Array;
  private readonly cosine: Float32Array;
  private readonly sine: Float32Array;
  private readonly order: Uint32Array;

  /**
   * @param frameLength samples in a frame
   * @param length of the transform: a power of two, at least frameLength
   */
  constructor(
    readonly frameLength: number,
    private readonly length: number,
  ) {
    if (length < frameLength || !Number.isInteger(Math.log2(length))) {
      throw new RangeError(`The transform's length must be a power of two and at least ${frameLength}, not ${length}.`);
    }
    this.bins = length / 2 + 1;
    // A periodic Hann window, scaled so that a sine at full scale has a power of 1 in its bin.
    const hann = (at: number): number => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / frameLength);
    this.window = Float32Array.from({ length: frameLength }, (_, at) => (hann(at) * 4) / frameLength);
    this.real = new Float32Array(length);
    this.imaginary = new Float32Array(length);
    this.cosine = Float32Array.from({ length: length / 2 }, (_, at) => Math.cos((2 * Math.PI * at) / length));
    this.sine = Float32Array.from({ length: length / 2 }, (_, at) => -Math.sin((2 * Math.PI * at) / length));
    const bits = Math.log2(length);
    this.order = Uint32Array.from({ length }, (_, at) => reverseBits(at, bits));
  }

  /** Power of each bin of a frame, relative to a sine at full scale. */
  of(frame: Float32Array): Float32Array {
    const { real, imaginary } = this;
    real.fill(0);
    imaginary.fill(0);
    for (let at = 0; at < this.frameLength; at++) {
      real[this.order[at] as number] = (frame[at] as number) * (this.window[at] as number);
    }
    for (let half = 1; half < this.length; half *= 2) this.butterflies(half);
    return Float32Array.from({ length: this.bins }, (_, at) => (real[at] as number) ** 2 + (imaginary[at] as number) ** 2);
  }

  private butterflies(half: number): void {
    const { real, imaginary, cosine, sine } = this;
    const stride = this.length / (2 * half);
    for (let start = 0; start < this.length; start += 2 * half) {
      for (let at = 0; at < half; at++) {
        const [c, s] = [cosine[at * stride] as number, sine[at * stride] as number];
        const [upper, lower] = [start + at, start + at + half];
        const r = (real[lower] as number) * c - (imaginary[lower] as number) * s;
        const i = (real[lower] as number) * s + (imaginary[lower] as number) * c;
        real[lower] = (real[upper] as number) - r;
        imaginary[lower] = (imaginary[upper] as number) - i;
        real[upper] = (real[upper] as number) + r;
        imaginary[upper] = (imaginary[upper] as number) + i;
      }
    }
  }
}

function reverseBits(value: number, bits: number): number {
  let reversed = 0;
  for (let bit = 0; bit < bits; bit++) reversed |= ((value >> bit) & 1) << (bits - 1 - bit);
  return reversed;
}
