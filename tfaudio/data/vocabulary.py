"""The words that a model is to know, from the texts it is trained on; and texts to tokens inside a graph."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf

from tfaudio.config import TextConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.text import UNKNOWN, Tokenizer


def build_tokenizer(texts: Iterable[str | None], config: TextConfig, labels: LabelMap) -> Tokenizer:
    """Collects the vocabulary of texts, the most frequent words first.

    Args:
      texts: of the training recordings alone; None and "" are no text.
      config: length, vocabulary_size and mask_labels are used.
      labels: the classes.

    Raises:
      TfaudioError: if there is no text, or nothing is left of any.
    """
    given = [text for text in texts if text]
    way_out = "fill the column `text` of a manifest (--dataset=manifest), or set text.length to 0."
    if not given:
        raise TfaudioError(f"text.length is {config.length}, but no training recording has a text; {way_out}")
    tokenizer = Tokenizer((), config.length, labels if config.mask_labels else None)
    kept = [" ".join(tokenizer.words(text)) for text in given]
    if not any(kept):
        hidden = " but names of classes, which text.mask_labels leaves out" if config.mask_labels else ""
        raise TfaudioError(f"The texts of the training recordings hold no word{hidden}; {way_out}")
    layer = keras.layers.TextVectorization(
        max_tokens=config.vocabulary_size, standardize=standardize, split="whitespace"
    )
    layer.adapt(tf.constant(kept))
    return Tokenizer(tuple(map(str, layer.get_vocabulary()[UNKNOWN + 1 :])), config.length, tokenizer.hidden_labels)


def standardize(text: tf.Tensor) -> tf.Tensor:
    """Lower-cases texts, string of any shape, and puts a space for all but letters, marks and digits.

    As `tfaudio.text.words_of`, of text in Unicode's composed form (NFC); a graph cannot compose.
    """
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")  # lower() refuses what is no UTF-8
    # ASCII first: the second step asks the machine for its language, and a Turkish one has another idea of I.
    text = tf.strings.lower(tf.strings.lower(text), encoding="utf-8")
    return tf.strings.regex_replace(text, r"[^\p{L}\p{M}\p{N}]+", " ")


class GraphTokenizer(tf.Module):
    """A Tokenizer inside a graph, of TensorFlow's own operators.

    Args:
      tokenizer: what to do.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(name="tokenizer")
        self._length = tokenizer.length
        words = tf.constant(tokenizer.vocabulary, tf.string)
        tokens = tf.range(UNKNOWN + 1, UNKNOWN + 1 + len(tokenizer.vocabulary), dtype=tf.int64)
        self.tokens = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(words, tokens), UNKNOWN)
        mask = tokenizer.mask
        self._hidden_part = None if mask is None or not mask.stems else f".*({'|'.join(mask.stems)}).*"
        self.hidden: tf.lookup.StaticHashTable | None = None
        if mask is not None and mask.words:
            hidden = tf.constant(sorted(mask.words), tf.string)
            self.hidden = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(hidden, tf.ones([len(mask.words)], tf.int64)), 0
            )

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Makes tokens, int32 [batch, length], of texts, string [batch]; "" is no text."""
        words = tf.strings.split(standardize(texts))
        if self._hidden_part is not None:
            words = tf.ragged.boolean_mask(
                words, ~tf.ragged.map_flat_values(tf.strings.regex_full_match, words, self._hidden_part)
            )
        if self.hidden is not None:
            words = tf.ragged.boolean_mask(words, tf.ragged.map_flat_values(self.hidden.lookup, words) == 0)
        tokens = tf.ragged.map_flat_values(self.tokens.lookup, words)
        return tf.cast(tokens.to_tensor(shape=[None, self._length]), tf.int32)
