"""Asking an attention classifier where it looks."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.models.classifier import scores_of

_MANY = 20_160  # frames; a multiple of all numbers up to 10, of 32 and of 96


@dataclass(frozen=True)
class Attention:
    """What a classifier attended to in a batch of waveforms.

    Args:
      scores: float32 [batch, classes].
      pooling: float32 [batch, patches]; the share of each patch in the decision, summing to one.
      encoder: one float32 [batch, heads, patches, patches] a layer; rows (the patch that asks) sum to one.
      patch_seconds: time from one patch to the next.
    """

    scores: np.ndarray
    pooling: np.ndarray
    encoder: tuple[np.ndarray, ...]
    patch_seconds: float


def attention_model(classifier: keras.Model) -> keras.Model:
    """Returns a model with the same inputs and weights, whose outputs are logits and all attention weights.

    Args:
      classifier: built by `tfaudio.models.attention`.

    Returns:
      A model that gives a dict: "logits", "attention_pooling" [batch, patches], and "attention_0", ... each
      [batch, heads, patches, patches].

    Raises:
      TfaudioError: if the model has no attention.
    """
    layers = [layer for layer in classifier.layers if layer.name.startswith("attention_")]
    if not layers:
        raise TfaudioError(f"Model '{classifier.name}' has no attention to look at; train --model=attention.")
    outputs = {layer.name: layer.output[1] for layer in layers}  # each gives its result and its weights
    return keras.Model(classifier.input, {"logits": classifier.output, **outputs})


def attend(bundle: Bundle, waveforms: np.ndarray) -> Attention:
    """Scores waveforms and returns what was attended to.

    Args:
      bundle: a run of an attention model.
      waveforms: float32 [batch, samples] at the run's sample rate.

    Raises:
      TfaudioError: if the run's model has no attention.
    """
    model = attention_model(bundle.body())
    features = bundle.front_end()(waveforms)
    outputs = {name: np.asarray(value) for name, value in model(features, training=False).items()}
    logits = outputs.pop("logits")
    pooling = outputs.pop("attention_pooling")
    front_end = bundle.config.front_end
    frames_per_patch = _frames_per_patch(model, tuple(features.shape[1:]))
    return Attention(
        scores=np.asarray(scores_of(logits, bundle.config.model.score_activation)),
        pooling=pooling,
        encoder=tuple(outputs[name] for name in sorted(outputs, key=lambda name: int(name.rsplit("_", 1)[1]))),
        patch_seconds=frames_per_patch * front_end.frame_step / front_end.sample_rate,
    )


def _frames_per_patch(model: keras.Model, shape: tuple[int, int]) -> int:
    """From one patch to the next: what many frames more, which the usual sizes divide, add in patches.

    One length would not tell, since its last patch may be a part of one.
    """
    frames, bins = shape
    few, many = (
        model.compute_output_shape((1, count, bins))["attention_pooling"][-1] for count in (frames, frames + _MANY)
    )
    return round(_MANY / (many - few))


def attention_png(waveform: np.ndarray, attention: Attention, bundle: Bundle, *, index: int = 0) -> bytes:
    """Draws the spectrogram of one waveform with the attention over time below it.

    Args:
      waveform: float32 [samples].
      attention: of the batch that the waveform was in.
      bundle: the run.
      index: the waveform's place in that batch.

    Returns:
      The content of a PNG file.
    """
    import io

    from matplotlib.figure import Figure

    front_end = bundle.config.front_end
    features = np.asarray(bundle.front_end()(waveform[np.newaxis]))[0]
    seconds = len(waveform) / front_end.sample_rate
    figure = Figure(figsize=(8, 4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top.imshow(features.T, origin="lower", aspect="auto", extent=(0, seconds, 0, features.shape[1]), cmap="magma")
    best = int(attention.scores[index].argmax())
    top.set_title(f"{bundle.labels[best]}: {attention.scores[index, best]:.0%}", parse_math=False)
    top.set_ylabel("bin")
    weights = attention.pooling[index]
    starts = np.arange(len(weights)) * attention.patch_seconds
    bottom.bar(starts, weights, width=attention.patch_seconds, align="edge", color="tab:purple")
    bottom.set_ylabel("attention")
    bottom.set_xlabel("seconds")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
