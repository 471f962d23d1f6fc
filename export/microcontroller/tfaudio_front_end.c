#include "tfaudio_front_end.h"

#include <math.h>

#define HALF (TFAUDIO_FFT_LENGTH / 2)

// The discrete Fourier transform of HALF complex numbers, in place, by decimation in time.
static void transform(float* z) {
  for (int i = 1, j = 0; i < HALF; ++i) {  // bit reversal
    int bit = HALF >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      for (int part = 0; part < 2; ++part) {
        const float swapped = z[2 * i + part];
        z[2 * i + part] = z[2 * j + part];
        z[2 * j + part] = swapped;
      }
    }
  }
  for (int length = 2; length <= HALF; length *= 2) {
    const int stride = TFAUDIO_FFT_LENGTH / length;  // in the table of roots, which has FFT_LENGTH of them to a turn
    for (int start = 0; start < HALF; start += length) {
      for (int k = 0; k < length / 2; ++k) {
        const float wr = tfaudio_roots[2 * k * stride], wi = tfaudio_roots[2 * k * stride + 1];
        float* a = z + 2 * (start + k);
        float* b = a + length;
        const float re = wr * b[0] - wi * b[1], im = wr * b[1] + wi * b[0];
        b[0] = a[0] - re;
        b[1] = a[1] - im;
        a[0] += re;
        a[1] += im;
      }
    }
  }
}

// The power of a real signal's spectrum, from the transform of its even samples plus i times its odd ones.
static void power_of(const float* z, float* power) {
  for (int k = 0; k <= HALF; ++k) {
    const float* p = z + 2 * (k % HALF);
    const float* q = z + 2 * ((HALF - k) % HALF);
    const float even_re = 0.5f * (p[0] + q[0]), even_im = 0.5f * (p[1] - q[1]);
    const float odd_re = 0.5f * (p[1] + q[1]), odd_im = 0.5f * (q[0] - p[0]);
    // The root of half a turn is not in the table.
    const float wr = k < HALF ? tfaudio_roots[2 * k] : -1.0f, wi = k < HALF ? tfaudio_roots[2 * k + 1] : 0.0f;
    const float re = even_re + wr * odd_re - wi * odd_im, im = even_im + wr * odd_im + wi * odd_re;
    power[k] = re * re + im * im;
  }
}

static float compressed(float energy) {
#if TFAUDIO_COMPRESSION == 1
  return logf(energy + TFAUDIO_LOG_OFFSET);
#elif TFAUDIO_COMPRESSION == 2
  return (TFAUDIO_MAGNITUDE ? 20.0f : 10.0f) * log10f(fmaxf(energy, TFAUDIO_LOG_OFFSET));
#else
  return energy;
#endif
}

static int8_t quantized(float feature) {
  const float scaled = roundf(feature / TFAUDIO_INPUT_SCALE) + TFAUDIO_INPUT_ZERO_POINT;
  return (int8_t)fminf(fmaxf(scaled, -128.0f), 127.0f);
}

// A frame whose samples are in the workspace already, windowed and filled up with zeros.
static void features_of(float* workspace, int8_t* features) {
  float* power = workspace + TFAUDIO_FFT_LENGTH;
  transform(workspace);
  power_of(workspace, power);
#if TFAUDIO_MAGNITUDE
  for (int k = 0; k <= HALF; ++k) power[k] = sqrtf(power[k]);
#endif
  const float* weights = tfaudio_band_weights;
  for (int bin = 0; bin < TFAUDIO_NUM_BINS; ++bin) {
    const float* first = power + tfaudio_band_start[bin];
    float energy = 0.0f;
    for (int i = 0; i < tfaudio_band_size[bin]; ++i) energy += weights[i] * first[i];
    weights += tfaudio_band_size[bin];
    features[bin] = quantized(compressed(energy) * tfaudio_feature_scale[bin] + tfaudio_feature_offset[bin]);
  }
}

void tfaudio_frame_features(const int16_t* samples, float* workspace, int8_t* features) {
  for (int i = 0; i < TFAUDIO_FRAME_LENGTH; ++i) workspace[i] = samples[i] / 32768.0f * tfaudio_window[i];
  for (int i = TFAUDIO_FRAME_LENGTH; i < TFAUDIO_FFT_LENGTH; ++i) workspace[i] = 0.0f;
  features_of(workspace, features);
}

void tfaudio_clip_features(const int16_t* waveform, float* workspace, int8_t* features) {
  for (long frame = 0; frame < TFAUDIO_NUM_FRAMES; ++frame) {
    const long start = frame * TFAUDIO_FRAME_STEP - TFAUDIO_FRAME_BEFORE;
    for (long i = 0; i < TFAUDIO_FFT_LENGTH; ++i) {
      const long at = start + i;
      const int inside = i < TFAUDIO_FRAME_LENGTH && at >= 0 && at < TFAUDIO_NUM_SAMPLES;
      workspace[i] = inside ? waveform[at] / 32768.0f * tfaudio_window[i] : 0.0f;
    }
    features_of(workspace, features + frame * TFAUDIO_NUM_BINS);
  }
}

void tfaudio_scores(const int8_t* logits, float* scores) {
#if TFAUDIO_SCORES_SIGMOID
  for (int i = 0; i < TFAUDIO_NUM_CLASSES; ++i) {
    scores[i] = 1.0f / (1.0f + expf((TFAUDIO_OUTPUT_ZERO_POINT - logits[i]) * TFAUDIO_OUTPUT_SCALE));
  }
#else
  int best = logits[0];
  for (int i = 1; i < TFAUDIO_NUM_CLASSES; ++i) best = logits[i] > best ? logits[i] : best;
  float total = 0.0f;
  for (int i = 0; i < TFAUDIO_NUM_CLASSES; ++i) {
    scores[i] = expf((logits[i] - best) * TFAUDIO_OUTPUT_SCALE);
    total += scores[i];
  }
  for (int i = 0; i < TFAUDIO_NUM_CLASSES; ++i) scores[i] /= total;
#endif
}
