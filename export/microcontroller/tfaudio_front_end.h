// The front end of a tfaudio classifier for targets with a float unit: mel bands of one frame at a time.
//
// Compile with the tfaudio_settings.h and tfaudio_settings.c that `tfaudio export --formats=tflm` wrote.
#ifndef TFAUDIO_FRONT_END_H
#define TFAUDIO_FRONT_END_H

#include <stdint.h>

#include "tfaudio_settings.h"

#if !TFAUDIO_FRONT_END_PORTED
#error "tfaudio_front_end.c does not compute these features; see the note in the export's report.json."
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Floats that the functions below need to work in: 6 KiB for a transform of 1,024 points.
#define TFAUDIO_WORKSPACE_FLOATS (TFAUDIO_FFT_LENGTH + TFAUDIO_FFT_LENGTH / 2 + 1)

// One frame: TFAUDIO_FRAME_LENGTH samples to TFAUDIO_NUM_BINS features, quantised as the model takes them.
//
// A stream calls this every TFAUDIO_FRAME_STEP samples. Frame i of a clip begins TFAUDIO_FRAME_BEFORE samples ahead of
// sample i * TFAUDIO_FRAME_STEP; what lies outside the clip is 0.
void tfaudio_frame_features(const int16_t* samples, float* workspace, int8_t* features);

// A clip: TFAUDIO_NUM_SAMPLES samples to TFAUDIO_NUM_FRAMES * TFAUDIO_NUM_BINS features.
void tfaudio_clip_features(const int16_t* waveform, float* workspace, int8_t* features);

// The model's output to TFAUDIO_NUM_CLASSES scores: they sum to one, unless TFAUDIO_SCORES_SIGMOID says that a
// recording may have several classes, each of which has a score of its own from 0 to 1.
void tfaudio_scores(const int8_t* logits, float* scores);

#ifdef __cplusplus
}
#endif

#endif
