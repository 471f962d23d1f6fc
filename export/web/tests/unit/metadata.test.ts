import { describe, expect, it } from "vitest";
import { checkUsable, labelsOf, thresholdsOf } from "../../src/metadata";

describe("what a model says of itself", () => {
  it("decides from which score on a class is heard, as on other devices", () => {
    const labels = ["dog", "rain"];
    expect(thresholdsOf({}, labels)).toEqual({ dog: 0, rain: 0 });
    expect(thresholdsOf({ thresholds: { rain: 0.7 }, unknown_below: 0.4 }, labels)).toEqual({ dog: 0.4, rain: 0.7 });
    expect(thresholdsOf({ thresholds: { rain: 0.2 }, score_activation: "sigmoid" }, labels)).toEqual({
      dog: 0.5,
      rain: 0.2,
    });
  });

  it("takes labels as other devices do", () => {
    expect(labelsOf("dog\r\n\nwhistle \n")).toEqual(["dog", "whistle "]);
    expect(thresholdsOf({}, ["constructor"])).toEqual({ constructor: 0 });
  });

  it("shows what the page cannot run", () => {
    expect(() => checkUsable({ format: 1 }, "a.tflite")).not.toThrow();
    expect(() => checkUsable({ format: 2, text: { length: 16 } }, "a.tflite")).toThrow("choose a model of sound alone");
    expect(() => checkUsable({ format: 1, streaming: {} }, "a.tflite")).toThrow("choose model_int8.tflite");
    expect(() => checkUsable({ format: 9 }, "a.tflite")).toThrow("later tfaudio");
  });
});
