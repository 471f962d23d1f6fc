import { describe, expect, it } from "vitest";
import { PowerSpectrum } from "../../src/fft";

describe("a power spectrum", () => {
  it("shows a sine at full scale with a power of 1 in its bin, and little elsewhere", () => {
    const spectrum = new PowerSpectrum(256, 256);
    const power = spectrum.of(Float32Array.from({ length: 256 }, (_, at) => Math.sin((2 * Math.PI * 19 * at) / 256)));
    expect(power).toHaveLength(129);
    expect(power[19]).toBeCloseTo(1, 5);
    for (const [bin, value] of power.entries()) if (Math.abs(bin - 19) > 1) expect(value).toBeLessThan(1e-9);
  });

  it("equals the sum that defines it, on noise and a frame shorter than the transform", () => {
    let seed = 1;
    const noise = Float32Array.from({ length: 200 }, () => (seed = (seed * 48271) % 2147483647) / 2147483647 - 0.5);
    const power = new PowerSpectrum(200, 256).of(noise);
    for (const bin of [0, 1, 17, 64, 128]) {
      let [real, imaginary] = [0, 0];
      noise.forEach((value, at) => {
        const weighted = value * Math.sin((Math.PI * at) / 200) ** 2 * (4 / 200);
        real += weighted * Math.cos((2 * Math.PI * bin * at) / 256);
        imaginary -= weighted * Math.sin((2 * Math.PI * bin * at) / 256);
      });
      expect(power[bin]).toBeCloseTo(real ** 2 + imaginary ** 2, 8);
    }
  });

  it("refuses a length that is no power of two", () => {
    expect(() => new PowerSpectrum(200, 200)).toThrow("power of two");
  });
});
