// Does the front end compute here what it computed where the model was made? Exit code 0 if so.
//
// Beside what `tfaudio export --formats=tflm` wrote, in its folder OUT:
//   cc -std=c99 -I OUT -I . self_test.c tfaudio_front_end.c OUT/tfaudio_settings.c OUT/tfaudio_golden.c -lm
#include <stdio.h>
#include <stdlib.h>

#include "tfaudio_front_end.h"
#include "tfaudio_golden.h"

#define PER_CLIP (TFAUDIO_NUM_FRAMES * TFAUDIO_NUM_BINS)

int main(void) {
  static float workspace[TFAUDIO_WORKSPACE_FLOATS];
  static int8_t features[PER_CLIP];
  int largest = 0;
  long differing = 0;
  for (int clip = 0; clip < TFAUDIO_NUM_GOLDEN; ++clip) {
    tfaudio_clip_features(tfaudio_golden_waveforms + (long)clip * TFAUDIO_NUM_SAMPLES, workspace, features);
    for (int i = 0; i < PER_CLIP; ++i) {
      const int difference = abs(features[i] - tfaudio_golden_features[(long)clip * PER_CLIP + i]);
      if (difference > largest) largest = difference;
      if (difference) ++differing;
    }
  }
  printf("{\"vectors\": %d, \"features\": %ld, \"differing\": %ld, \"largest_difference\": %d}\n", TFAUDIO_NUM_GOLDEN,
         (long)TFAUDIO_NUM_GOLDEN * PER_CLIP, differing, largest);
  return largest > 1;  // one step: a value halfway between two may fall to either side
}
