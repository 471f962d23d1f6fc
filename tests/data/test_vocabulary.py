"""The vocabulary from training texts; and that a graph, Keras and plain Python make the same tokens."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfaudio.config import TextConfig
from tfaudio.data.vocabulary import GraphTokenizer, build_tokenizer, standardize
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.text import Tokenizer, words_of

LABELS = LabelMap(("dog", "sneezing", "雨"))
CONFIG = TextConfig(length=5, vocabulary_size=100)
# Blocks that have been in Unicode for long: tables of different age agree about them.
BLOCKS = (
    (0x20, 0x7E), (0xA0, 0x17F), (0x391, 0x3C9), (0x400, 0x45F), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x94D),
    (0xE01, 0xE3A), (0x3041, 0x3096), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0x1F600, 0x1F640),
)  # fmt: skip
SIGNS = st.one_of(*(st.characters(min_codepoint=low, max_codepoint=high) for low, high in BLOCKS))
TEXTS = st.lists(st.text(SIGNS, max_size=30), min_size=1, max_size=4)


@given(TEXTS)
def test_a_graph_standardises_as_python_does(texts):
    made = standardize(tf.constant(texts)).numpy()
    assert [text.decode().split() for text in made] == [words_of(text) for text in texts]


@given(TEXTS)
def test_tokens_are_those_of_keras(texts):
    known = sorted({word for text in texts[::2] for word in words_of(text)}) or ["x"]
    layer = keras.layers.TextVectorization(
        standardize=standardize, split="whitespace", output_sequence_length=5, vocabulary=known
    )
    tokenizer = Tokenizer(tuple(known), 5)
    expected = layer(tf.constant(texts)).numpy()
    np.testing.assert_array_equal(tokenizer.tokens(texts), expected)
    np.testing.assert_array_equal(GraphTokenizer(tokenizer)(tf.constant(texts)), expected)


@given(TEXTS)
def test_a_graph_hides_the_words_that_python_hides(texts):
    texts = [*texts, "dogs bark", "sneeze neez neezi 雨天 雨", " ".join(texts) + "dog"]
    known = sorted({word for text in texts for word in words_of(text)})
    tokenizer = Tokenizer(tuple(known), 5, LABELS)
    np.testing.assert_array_equal(GraphTokenizer(tokenizer)(tf.constant(texts)), tokenizer.tokens(texts))


def test_class_names_without_a_stem_or_a_part_are_hidden_in_a_graph_too():
    for labels in (("a", "7"), ("?", "!"), ("cat", "dog")):
        tokenizer = Tokenizer(("a", "b", "cat"), 3, LabelMap(labels))
        texts = ["a b", "7 b", "cat b"]
        np.testing.assert_array_equal(GraphTokenizer(tokenizer)(tf.constant(texts)), tokenizer.tokens(texts))


def test_a_graph_takes_no_texts_and_bytes_that_are_no_text():
    graph = GraphTokenizer(Tokenizer(("bark",), 3, LABELS))
    assert graph(tf.constant([], tf.string)).shape == (0, 3)
    np.testing.assert_array_equal(graph(tf.constant([b"bark \xff\xfe bark", b""])), [[2, 2, 0], [0, 0, 0]])


def test_the_most_frequent_words_of_the_texts_given_are_known():
    texts = ["big bark", "bark at night", None, "", "a big bark", "Sneeze dog dogs dog"]
    tokenizer = build_tokenizer(texts, CONFIG, LABELS)
    assert tokenizer.vocabulary[:2] == ("bark", "big")
    assert set(tokenizer.vocabulary) == {"bark", "big", "at", "night", "a"}
    assert tokenizer == Tokenizer.from_text(tokenizer.to_text(), CONFIG, LABELS)
    assert build_tokenizer(texts, CONFIG.replace(vocabulary_size=4), LABELS).vocabulary == ("bark", "big")
    assert "dog" in build_tokenizer(texts, CONFIG.replace(mask_labels=False), LABELS).vocabulary


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "text.length is 5, but no training recording has a text; fill the column `text`"),
        ([None, "", None], "no training recording has a text; .* or set text.length to 0"),
        (["dog", "dogs!"], "hold no word but names of classes, which text.mask_labels leaves out"),
    ],
)
def test_texts_that_nothing_can_be_learnt_from_are_refused(texts, message):
    with pytest.raises(TfaudioError, match=message):
        build_tokenizer(texts, CONFIG, LABELS)


def test_texts_without_words_are_refused_where_nothing_is_hidden_too():
    with pytest.raises(TfaudioError, match=r"training recordings hold no word; fill"):
        build_tokenizer(["?!", "…"], CONFIG.replace(mask_labels=False), LABELS)
