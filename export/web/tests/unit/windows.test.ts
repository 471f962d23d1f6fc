import { describe, expect, it } from "vitest";
import { checkSamples, countWindows, cutWindows, LatestSamples, samplesOf, type Clip } from "../../src/windows";

const clip: Clip = { windowSamples: 8000, hopSamples: 8000, short: "pad" };

describe("a length in samples", () => {
  it("is the exporter's, which rounds half to even", () => {
    expect([0.5, 1, 1.5].map((seconds) => samplesOf(seconds, 11025))).toEqual([5512, 11025, 16538]);
    expect(samplesOf(0.25, 22050)).toBe(5512);
    expect(samplesOf(1e-9, 16000)).toBe(1);
  });
});

describe("windows of a recording", () => {
  it("are as many as tfaudio.config.ClipConfig says", () => {
    expect([1, 8000, 8001, 12000, 16000].map((samples) => countWindows(samples, clip))).toEqual([1, 1, 1, 2, 2]);
    const overlapping = { ...clip, hopSamples: 2000 }; // hop 0.25 s of 1 s: a rest counts from its first sample on
    expect([8000, 8001, 10000, 10001].map((samples) => countWindows(samples, overlapping))).toEqual([1, 2, 2, 3]);
  });

  it("are filled with silence, or with the recording again", () => {
    const short = { windowSamples: 5, hopSamples: 5 };
    const filled = (how: "pad" | "tile"): number[][] =>
      [...cutWindows(Float32Array.of(1, 2), { ...short, short: how })].map((window) => [...window]);
    expect(filled("pad")).toEqual([[1, 2, 0, 0, 0]]);
    expect(filled("tile")).toEqual([[1, 2, 1, 2, 1]]);
  });

  it("overlap where the hop is shorter", () => {
    const found = [...cutWindows(Float32Array.of(0, 1, 2, 3, 4), { windowSamples: 3, hopSamples: 2, short: "pad" })];
    expect(found.map((window) => [...window])).toEqual([
      [0, 1, 2],
      [2, 3, 4],
    ]);
  });
});

describe("samples", () => {
  it("are numbers about full scale", () => {
    checkSamples(Float32Array.of(-1, 0, 1.5));
    for (const wrong of [NaN, Infinity, -Infinity]) {
      expect(() => checkSamples(Float32Array.of(0, wrong))).toThrow("no numbers");
    }
    for (const wrong of [12_000, -1e30]) {
      expect(() => checkSamples(Float32Array.of(0, wrong))).toThrow("far beyond full scale");
    }
  });
});

describe("the latest samples of a stream", () => {
  it("are those at its end, however it is cut", () => {
    const stream = Float32Array.from({ length: 1000 }, (_, at) => at);
    for (const step of [1, 3, 64, 99, 100, 101, 257, 1000]) {
      const latest = new LatestSamples(100);
      for (let at = 0; at < stream.length; at += step) latest.push(stream.subarray(at, at + step));
      expect(latest.full).toBe(true);
      expect([...latest.read()]).toEqual([...stream.subarray(900)]);
    }
  });

  it("are not whole before a window was heard", () => {
    const latest = new LatestSamples(4);
    latest.push(Float32Array.of(1, 2, 3));
    expect(latest.full).toBe(false);
  });
});
