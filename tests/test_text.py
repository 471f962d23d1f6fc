"""Texts to words and tokens, without TensorFlow; that a graph does the same is shown in tests/data."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tfaudio.config import RunConfig, TextConfig
from tfaudio.errors import TfaudioError
from tfaudio.labels import LabelMap
from tfaudio.text import LabelMask, Tokenizer, words_of

CONFIG = TextConfig(length=4, vocabulary_size=6)
ESC10 = (
    *("chainsaw", "clock_tick", "crackling_fire", "crying_baby", "dog"),
    *("helicopter", "rain", "rooster", "sea_waves", "sneezing"),
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Rain_06.WAV", ["rain", "06", "wav"]),
        ("  two\tlines\nand\u00a0more ", ["two", "lines", "and", "more"]),
        ("ÉCOLE ÑANDÚ Straße", ["école", "ñandú", "straße"]),
        ("E\u0301COLE", ["école"]),  # decomposed, as macOS stores names
        ("Собака лает! ΣΚΥΛΟΣ", ["собака", "лает", "σκυλος"]),  # the last sigma has its own form
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # vowel signs are marks and part of the word
        ("狗 叫\uff0c雨", ["狗", "叫", "雨"]),
        ("كلب ينبح؟", ["كلب", "ينبح"]),
        ("🐶 dog…", ["dog"]),
        ("½ x²", ["½", "x²"]),
        ("", []),
        ("?!_ -", []),
    ],
)
def test_words_end_where_no_letter_mark_or_digit_is(text, words):
    assert words_of(text) == words


def test_words_that_name_a_class_are_hidden():
    mask = LabelMask.of(ESC10)
    hidden = ["dog", "dogs", "dogbarks", "chainsaws", "chain", "heli", "copter", "sneeze", "mysneeze2", "cry", "crying"]
    hidden += ["waves", "wave", "babycrying2", "fireburning", "ticking", "seaside", "train"]
    assert [word for word in hidden if not mask.hides(word)] == []
    kept = ["bark", "chicken", "saw", "bird", "ring", "cock", "hahn", "water", "forest", "er", "g"]
    assert [word for word in kept if mask.hides(word)] == []


def test_class_names_of_few_letters_hide_themselves_alone():
    mask = LabelMask.of(["a", "7", "go", "狗"])
    assert [word for word in ("a", "7", "go", "狗", "狗叫") if not mask.hides(word)] == []
    assert [word for word in ("and", "17", "good", "猫") if mask.hides(word)] == []
    assert LabelMask.of([]).hides("dog") is False


def test_tokens_pad_cut_and_know_what_they_do_not_know():
    tokenizer = Tokenizer(("bark", "big"), 3)
    tokens = tokenizer.tokens(["big bark", "bark howl bark bark bark", "", None, "?"])
    np.testing.assert_array_equal(tokens, [[3, 2, 0], [2, 1, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert tokens.dtype == np.int32
    assert tokenizer.tokens([]).shape == (0, 3)


def test_what_is_hidden_leaves_no_trace():
    tokenizer = Tokenizer(("bark", "big"), 3, LabelMap(("dog", "cat")))
    np.testing.assert_array_equal(tokenizer.tokens(["big dogs bark", "DOG"]), [[3, 2, 0], [0, 0, 0]])


def test_a_vocabulary_comes_back_from_its_file():
    labels = LabelMap(("dog", "cat"))
    for config in (CONFIG, CONFIG.replace(mask_labels=False)):
        tokenizer = Tokenizer(("größe", "狗", "x2"), 4, labels if config.mask_labels else None)
        text = tokenizer.to_text()
        assert text.split("\n")[tokenizer.tokens(["狗"])[0, 0]] == "狗"  # the line's number is the token
        assert Tokenizer.from_text(text, config, labels) == tokenizer
        assert Tokenizer.from_text(text.replace("\n", "\r\n"), config, labels) == tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bark\nbig\n",
        *("[PAD]\n[UNK]\n" + words for words in ("", "big\nbig\n", "Big\n", "a b\n", "a\n\nb\n", "a\nb\nc\nd\ne\n")),
    ],
)
def test_what_is_no_vocabulary_is_refused(text):
    with pytest.raises(TfaudioError, match=r"it (is no vocabulary of up to 6 tokens|holds no word, one twice)"):
        Tokenizer.from_text(text, CONFIG, LabelMap(("dog", "cat")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": -1}, "text.length must be 0 to 1024, not -1"),
        ({"length": 2000}, "text.length must be 0 to 1024, not 2000"),
        ({"vocabulary_size": 2}, "text.vocabulary_size must be 3 to"),
        ({"audio_dropout": 1.5}, "text.audio_dropout must be 0 to 1"),
        ({"text_dropout": -0.1}, "text.text_dropout must be 0 to 1"),
        ({"audio_dropout": 0.6, "text_dropout": 0.5}, "must be 1 at most together, not 1.1"),
        ({"lenght": 3}, "Did you mean 'text.length'"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(TfaudioError, match=message):
        TextConfig.from_dict(settings)


def test_runs_from_before_there_was_text_load_and_take_none():
    values = RunConfig().to_dict()
    del values["text"]
    assert RunConfig.from_dict(values) == RunConfig()
    assert RunConfig().text.length == 0


def test_a_learnt_front_end_and_text_exclude_each_other():
    with pytest.raises(TfaudioError, match=r"text\.length must be 0 where the front end is learnt"):
        RunConfig().override({"front_end.feature": "leaf", "text.length": 8})


def test_a_device_needs_no_tensorflow_for_texts():
    code = "import tfaudio.text, sys; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_capitals_without_a_composed_form_come_back_from_the_file():
    # Lower-cased, these compose: words of the vocabulary are as they were lower-cased, not as they would compose.
    texts = ["H\u0331anuka J\u030c T\u0308 W\u030a \u0399\u0308\u0301"]
    words = tuple(dict.fromkeys(words_of(texts[0])))
    config, labels = TextConfig(length=8, vocabulary_size=20), LabelMap(("drum",))
    tokenizer = Tokenizer(words, 8, None)
    read = Tokenizer.from_text(tokenizer.to_text(), config.replace(mask_labels=False), labels)
    assert read.vocabulary == words
    assert read.tokens(texts).tolist() == [[*range(2, 2 + len(words)), *[0] * (8 - len(words))]]
