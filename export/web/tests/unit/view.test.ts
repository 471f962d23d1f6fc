import { describe, expect, it } from "vitest";
import { rank } from "../../src/view";

describe("the best labels", () => {
  const labels = ["dog", "rain", "siren"];

  it("come best first, and are heard from their thresholds on", () => {
    const ranked = rank({ labels, thresholds: { rain: 0.5, siren: 0.25 } }, Float32Array.of(0.125, 0.4375, 0.25));
    expect(ranked).toEqual([
      { label: "rain", score: 0.4375, heard: false },
      { label: "siren", score: 0.25, heard: true },
      { label: "dog", score: 0.125, heard: true },
    ]);
  });

  it("are at most five", () => {
    const many = Array.from({ length: 8 }, (_, index) => `class ${index}`);
    expect(rank({ labels: many, thresholds: {} }, new Float32Array(8))).toHaveLength(5);
  });
});
