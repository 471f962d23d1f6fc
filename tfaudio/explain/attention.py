"""Asking an attention classifier where it looks, and which words of a text it heeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from tfaudio.bundle import Bundle
from tfaudio.errors import TfaudioError
from tfaudio.models.ast import Patchout
from tfaudio.models.classifier import scores_of
from tfaudio.models.encoder import ClassToken
from tfaudio.models.layers import AttentionPooling, ClassAttention
from tfaudio.models.mha_rnn import MiddleAttention

_MANY = 20_160  # frames; a multiple of all numbers up to 10, of 32 and of 96
# Attention of the sound to itself, as the architectures name it, numbered.
_ENCODERS = ("attention_", "self_attention_", "sound_attention_")
_TO_WORDS, _IMPORTANCE, _ROWS = "sound_to_words", "importance", "row_position"

Heeded = tuple[tuple[str, float], ...]  # words of a text, and the share of each


@dataclass(frozen=True)
class Attention:
    """What a classifier attended to in a batch of waveforms.

    Args:
      scores: float32 [batch, classes].
      pooling: float32 [batch, patches]; the share of each patch in time in the decision, summing to one: the weights of
        attention pooling, those of the best class where each class weighs patches for itself, or else of the last
        block: what the class token, or without one all patches, took of each, mean over heads.
      encoder: one float32 [batch, heads, patches, patches] a layer of self-attention; rows (the patch that asks) sum to
        one. A class token is the first patch; patches of several bands of frequency follow instant by instant.
      patch_seconds: time from one patch of `pooling` to the next.
      words: of a model that takes text, for each example the words it was given, and of what its sound took of text
        the share of each; empty where there is no text.
    """

    scores: np.ndarray
    pooling: np.ndarray
    encoder: tuple[np.ndarray, ...]
    patch_seconds: float
    words: tuple[Heeded, ...] = ()


def attention_model(classifier: keras.Model) -> keras.Model:
    """Returns a model with the same inputs and weights, whose outputs are logits and all attention weights.

    Args:
      classifier: of an architecture with attention, or with a head that is.

    Returns:
      A model that gives a dict: "logits", and by the layer's name the weights of each: "attention_pooling" (or
      "sound_pooling") [batch, patches], "attention_0", ... each [batch, heads, patches, patches], "attention"
      [batch, heads, patches], "importance" [batch, patches, classes], before the softmax over patches.

    Raises:
      TfaudioError: if the model has no attention.
    """
    found: dict[str, Any] = {}
    for layer in classifier.layers:
        # Each gives its result and its weights.
        if isinstance(layer, (layers.MultiHeadAttention, AttentionPooling, MiddleAttention)):
            found[layer.name] = layer.output[1]
        elif isinstance(layer, ClassAttention):
            found[_IMPORTANCE] = classifier.get_layer(_IMPORTANCE).output
    if classifier.name == "ensemble":
        raise TfaudioError("An ensemble has no attention of its own to look at; look at the run of a member.")
    if not found:
        raise TfaudioError(
            f"Model '{classifier.name}' has no attention to look at; train --model=attention, or a convolutional one "
            "with --set=model.options.head=attention."
        )
    return keras.Model(classifier.input, {"logits": classifier.output, **found})


def attend(bundle: Bundle, waveforms: np.ndarray, texts: Sequence[str | None] | None = None) -> Attention:
    """Scores waveforms and returns what was attended to.

    Args:
      bundle: a run of a model with attention.
      waveforms: float32 [batch, samples] at the run's sample rate.
      texts: for a run that takes text, one each, None where there is none; None: there are none.

    Raises:
      TfaudioError: if the run's model has no attention, or texts are given to one that takes none.
    """
    if texts is not None and bundle.tokenizer is None:
        raise TfaudioError(f"{bundle.path} takes no text; leave texts out.")
    if texts is not None and len(texts) != len(waveforms):
        raise TfaudioError(f"{len(texts)} texts do not go with {len(waveforms)} waveforms; give one each, or None.")
    model = attention_model(bundle.body())
    features = bundle.front_end()(waveforms)
    given: Any = features
    told = [None] * len(waveforms) if texts is None else list(texts)
    if bundle.tokenizer is not None:  # Keras takes no mixture of tensors and arrays
        given = {"features": np.asarray(features), "tokens": bundle.tokenizer.tokens(told)}
    outputs = {name: np.asarray(value) for name, value in model(given, training=False).items()}
    scores = np.asarray(scores_of(outputs["logits"], bundle.config.model.score_activation))
    pooling = _pooling(model, outputs, scores.argmax(axis=-1))
    front_end = bundle.config.front_end
    length = 0 if bundle.tokenizer is None else bundle.tokenizer.length
    frames_per_patch = _frames_per_patch(model, tuple(features.shape[1:]), length)
    words: tuple[Heeded, ...] = ()
    if bundle.tokenizer is not None and _TO_WORDS in outputs:
        shares = np.einsum("bp,bpw->bw", pooling, outputs[_TO_WORDS].mean(axis=1))
        split = [bundle.tokenizer.words(text)[:length] for text in told]
        words = tuple(tuple(zip(of, map(float, row), strict=False)) for of, row in zip(split, shares, strict=True))
    return Attention(
        scores=scores,
        pooling=pooling,
        encoder=tuple(outputs[name] for name in _encoder_names(outputs)),
        patch_seconds=frames_per_patch * front_end.frame_step / front_end.sample_rate,
        words=words,
    )


def _encoder_names(outputs: Mapping[str, Any]) -> list[str]:
    """The layers of self-attention among the outputs of `attention_model`, from the first to the last."""
    numbered = [name for name in outputs if name.startswith(_ENCODERS) and name.rpartition("_")[2].isdecimal()]
    return sorted(numbered, key=lambda name: int(name.rpartition("_")[2]))


def _pooling(model: keras.Model, outputs: Mapping[str, np.ndarray], best: np.ndarray) -> np.ndarray:
    """The share of each patch in time, float32 [batch, patches]; `best` is the class of each example, [batch]."""
    name = _pooled_by(model)
    weights = outputs[name]
    if name == _IMPORTANCE:
        of_class = np.take_along_axis(weights, best[:, None, None], axis=2)[..., 0]
        exponents = np.exp(of_class - of_class.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)
    if weights.ndim == 3:  # [batch, heads, patches]
        return weights.mean(axis=1)
    if weights.ndim == 2:
        return weights
    asked = weights.mean(axis=1)  # [batch, patches that ask, patches]
    if any(isinstance(layer, ClassToken) for layer in model.layers):
        taken = asked[:, 0, 1:]
        taken = taken / taken.sum(axis=1, keepdims=True)  # less what the token took of itself
    else:
        taken = asked.mean(axis=1)
    return taken.reshape(len(taken), -1, _rows(model)).sum(axis=-1)


def _pooled_by(model: keras.Model) -> str:
    """The output of `attention_model` that tells the share of each patch."""
    for layer in model.layers:
        if isinstance(layer, (AttentionPooling, MiddleAttention)):
            return str(layer.name)
    return _IMPORTANCE if _IMPORTANCE in model.output else _encoder_names(model.output)[-1]


def _rows(model: keras.Model) -> int:
    """Patches of one instant: of how many bands of frequency there are some."""
    found = [layer for layer in model.layers if layer.name == _ROWS]
    return int(found[0].rows.shape[0]) if found else 1


def _frames_per_patch(model: keras.Model, shape: tuple[int, int], text_length: int = 0) -> int:
    """From one patch to the next: what many frames more, which the usual sizes divide, add in patches.

    One length would not tell, since its last patch may be a part of one.
    """
    for layer in model.layers:
        if isinstance(layer, Patchout):  # of which it cannot be told beforehand how many patches it leaves
            return int(model.get_layer("patch_embedding").strides[0])
    name, (frames, bins) = _pooled_by(model), shape

    def patches(count: int) -> int:
        given: Any = (1, count, bins)
        found = model.compute_output_shape({"features": given, "tokens": (1, text_length)} if text_length else given)[
            name
        ]
        return int(found[1] if name == _IMPORTANCE else found[-1])

    return round(_MANY * _rows(model) / (patches(frames + _MANY) - patches(frames)))


def attention_png(waveform: np.ndarray, attention: Attention, bundle: Bundle, *, index: int = 0) -> bytes:
    """Draws the spectrogram of one waveform with the attention over time below it, and to words if there were any.

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
    words = attention.words[index] if attention.words else ()
    heights = [3, 1, 1] if words else [3, 1]
    figure = Figure(figsize=(8, len(heights) + 2), layout="constrained")
    panels = figure.subplots(len(heights), 1, height_ratios=heights)
    top, bottom = panels[:2]
    top.sharex(bottom)
    top.tick_params(labelbottom=False)
    top.imshow(features.T, origin="lower", aspect="auto", extent=(0, seconds, 0, features.shape[1]), cmap="magma")
    best = int(attention.scores[index].argmax())
    top.set_title(f"{bundle.labels[best]}: {attention.scores[index, best]:.0%}", parse_math=False)
    top.set_ylabel("bin")
    weights = attention.pooling[index]
    starts = np.arange(len(weights)) * attention.patch_seconds
    bottom.bar(starts, weights, width=attention.patch_seconds, align="edge", color="tab:purple")
    bottom.set_ylabel("attention")
    bottom.set_xlabel("seconds")
    if words:
        panels[2].bar(range(len(words)), [share for _, share in words], color="tab:green")
        panels[2].set_xticks(range(len(words)), [word for word, _ in words], parse_math=False)
        panels[2].set_ylabel("words")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
