"""Parameters against what the papers publish, and multiplications against counts by hand."""

from __future__ import annotations

import itertools

import keras
import pytest

from tfaudio.config import ModelConfig
from tfaudio.errors import TfaudioError
from tfaudio.models.complexity import count_macs, count_parameters, outline


def _outline(name, *, bins=64, classes=10, frames=96, **options):
    config = ModelConfig(name=name, options=options)
    return outline(config, input_shape=(frames, bins), num_classes=classes)


def _norm(*channels):
    """Scale and offset of a batch or layer normalisation for each channel."""
    return 2 * sum(channels)


def _dense(given, made):
    return given * made + made


CHANNELS = (64, 128, 256, 512, 1024, 2048)


def _pairs(channels):
    return sum(9 * (i * o + o * o) + 2 * _norm(o) for i, o in zip((1, *channels), channels, strict=False))


def _inverted(given, expansion, made):
    wide = expansion * given
    expand = given * wide + _norm(wide) if expansion > 1 else 0
    return expand + 9 * wide + _norm(wide) + wide * made + _norm(made)


def _chain(*channels):
    return list(itertools.pairwise(channels))


def _transformer(width, depth):
    attention = 4 * _dense(width, width)
    return depth * (attention + _dense(width, 4 * width) + _dense(4 * width, width) + 2 * _norm(width)) + _norm(width)


PANNS_HEAD = _norm(64) + _dense(512, 512) + _dense(512, 527)
MOBILENET = _chain(32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
MOBILENET_V2 = [
    *((1, 32, 16), (6, 16, 24), (6, 24, 24), (6, 24, 32), (6, 32, 32), (6, 32, 32), (6, 32, 64)),
    *([(6, 64, 64)] * 3 + [(6, 64, 96)] + [(6, 96, 96)] * 2 + [(6, 96, 160)] + [(6, 160, 160)] * 2 + [(6, 160, 320)]),
]
RESNET = [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
PARAMETERS = {
    "cnn6": (
        25 * (64 + 64 * 128 + 128 * 256 + 256 * 512) + _norm(*CHANNELS[:4]) + PANNS_HEAD,
        4_837_455,
        {"classes": 527},
    ),
    "cnn10": (_pairs(CHANNELS[:4]) + PANNS_HEAD, 5_219_279, {"classes": 527}),
    "cnn14": (
        _pairs(CHANNELS) + _norm(64) + _dense(2048, 2048) + _dense(2048, 527),
        80_800_000,
        {"classes": 527},
    ),
    # Published with three input channels, and a normalisation's running statistics counted too by some.
    "mobilenet_v1": (
        9 * 32 + _norm(32) + sum(9 * i + _norm(i) + i * o + _norm(o) for i, o in MOBILENET) + _dense(1024, 10),
        3_206_976 - 9 * 2 * 32 + _dense(1024, 10),
        {},
    ),
    "mobilenet_v2": (
        9 * 32
        + _norm(32)
        + sum(_inverted(i, e, o) for e, i, o in MOBILENET_V2)
        + 320 * 1280
        + _norm(1280)
        + _dense(1280, 10),
        2_223_872 - 9 * 2 * 32 + _dense(1280, 10),
        {},
    ),
    "resnet": (
        49 * 64
        + _norm(64)
        + sum(9 * (i * o + o * o) + 2 * _norm(o) + (i * o + _norm(o) if i != o else 0) for i, o in RESNET)
        + _dense(512, 10),
        11_176_512 - 49 * 2 * 64 + _dense(512, 10),
        {},
    ),
    # Published with a convolution to the classes, normalised, before a dense layer of them.
    "waveform_cnn": (
        9 * 8
        + 5 * 8 * 64
        + _norm(8, 64)
        + 9 * 32
        + _norm(32)
        + sum(9 * (i * o + o * o) + 2 * _norm(o) for i, o in _chain(32, 64, 128, 256, 512))
        + _dense(512, 50),
        4_740_000,
        {"classes": 50, "width": 1.0},
    ),
    "yamnet": (
        9 * 32 + 32 + sum(9 * i + i + i * o + o for i, o in MOBILENET) + _dense(1024, 521),
        3_700_000,
        {"classes": 521},
    ),
    "mha_rnn": (
        5 * 10
        + _norm(10)
        + 5 * 10
        + _norm(1)
        + sum(2 * 3 * 128 * (given + 128 + 2) for given in (20, 256))
        + _dense(256, 4 * 256)
        + _dense(4 * 256, 64)
        + _dense(64, 32)
        + _dense(32, 12),
        743_000,
        {"bins": 20, "classes": 12, "stride": 1, "units": 128},
    ),
    # Published with learnt positions for 98 frames and the token, and no bias of queries, keys and values.
    "kwt": (
        _dense(40, 64) + 64 + _transformer(64, 12) + _dense(64, 35),
        607_000,
        {"bins": 40, "classes": 35},
    ),
    # Published with learnt positions for 1212 patches and two tokens, and a normalisation before the output.
    "ast": (
        _dense(256, 768) + 12 * 768 + 768 + _transformer(768, 12) + _dense(768, 527),
        87_300_000,
        {"bins": 128, "classes": 527, "width": 768, "heads": 12},
    ),
}


TOLERANCES = {"ast": 0.02, "cnn14": 1e-3, "kwt": 0.02, "mha_rnn": 1e-3, "waveform_cnn": 2e-3, "yamnet": 0.02}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_paper(name):
    by_hand, published, settings = PARAMETERS[name]
    assert count_parameters(_outline(name, **settings)) == by_hand
    assert by_hand == pytest.approx(published, rel=TOLERANCES.get(name, 1e-9))


@pytest.mark.parametrize(
    ("name", "options", "published"),
    [
        ("mobilenet_v3", {"size": "small"}, "MobileNetV3Small"),
        ("mobilenet_v3", {"size": "large"}, "MobileNetV3Large"),
        ("efficientnet", {"width": 1.0, "depth": 1.0}, "EfficientNetB0"),
        ("efficientnet", {"width": 1.1, "depth": 1.2}, "EfficientNetB2"),
    ],
)
def test_parameters_are_those_of_keras(name, options, published):
    theirs = getattr(keras.applications, published)(weights=None)
    ours = _outline(name, classes=1000, **options)
    stem = next(layer for layer in ours.layers if isinstance(layer, keras.layers.Conv2D)).kernel.shape
    assert count_parameters(ours) == count_parameters(theirs) - 9 * 2 * stem[-1]  # of one channel in place of three


def test_keyword_models_have_the_size_of_their_papers():
    # MLPerf Tiny's counts running statistics too, and biases of convolutions, which normalisation makes useless.
    assert count_parameters(_outline("ds_cnn", classes=12)) + 9 * 64 + 2 * 9 * 64 == 24_908
    for width, published in ((1, 9_200), (8, 321_000)):
        assert count_parameters(_outline("bc_resnet", classes=12, width=width)) == pytest.approx(published, rel=0.04)


def test_parameters_of_a_conformer_by_hand():
    half = _norm(64) + _dense(64, 256) + _dense(256, 64)
    attention = _norm(64) + 4 * _dense(64, 64)
    convolution = _norm(64) + 2 * _dense(64, 64) + 15 * 64 + _norm(64) + _dense(64, 64)
    stem = 9 * 32 + 9 * 32 * 32 + 2 * _norm(32) + _dense(16 * 32, 64)
    by_hand = stem + 4 * (2 * half + attention + convolution + _norm(64)) + _dense(64, 10)
    assert count_parameters(_outline("conformer")) == by_hand < 600_000


def test_width_scales_all_channels():
    for name, last in (("cnn6", 128), ("mobilenet_v1", 256), ("resnet", 128)):
        logits = _outline(name, width=0.25).get_layer("logits")
        assert logits.kernel.shape == (last, 10)
    assert _outline("mobilenet_v2", width=0.25).get_layer("logits").kernel.shape == (1280, 10)


def test_multiplications_of_convolutions_by_hand():
    # 96 frames of 64 bins: 5x5 at stride 2 on 48 x 32, then 3x3 on 24 x 16, 12 x 8 and 6 x 4.
    convolutions = 48 * 32 * 25 * 32 + 24 * 16 * 9 * 32 * 64 + 12 * 8 * 9 * 64 * 128 + 6 * 4 * 9 * 128 * 192
    assert count_macs(_outline("cnn")) == convolutions + 192 * 10


def test_multiplications_of_mobilenet_by_hand():
    # YAMNet's patch. Its blocks see 48 x 32, then half of it at each stride: 24 x 16, 12 x 8, 6 x 4 and 3 x 2.
    outputs = [48 * 32, *[24 * 16] * 2, *[12 * 8] * 2, *[6 * 4] * 6, *[3 * 2] * 2]
    blocks = sum(n * (9 * i + i * o) for n, (i, o) in zip(outputs, MOBILENET, strict=True))
    # 69.2 million are published for YAMNet, with 521 classes.
    macs = count_macs(_outline("mobilenet_v1", classes=521))
    assert macs == 48 * 32 * 9 * 32 + blocks + 1024 * 521
    assert macs == pytest.approx(69.2e6, rel=0.01)
    assert count_macs(_outline("yamnet", classes=521)) == macs


def test_multiplications_of_attention_and_memory_by_hand():
    patches = 96 + 1  # and the class token
    block = 4 * patches * 64 * 64 + 2 * patches**2 * 64 + 2 * patches * 64 * 256
    assert count_macs(_outline("kwt")) == 96 * 64 * 64 + 12 * block + 64 * 10
    # The GRU sees 12 frames of 8 bins by 64 channels, and attention its 2 * 64 values.
    convolutions = 48 * 32 * 25 * 32 + 24 * 16 * 9 * 32 * 64 + 12 * 8 * 9 * 64 * 64
    memory = 2 * 12 * 3 * 64 * (8 * 64 + 64)
    pooling = 12 * (128 * 64 + 64 + 128)
    assert count_macs(_outline("crnn")) == convolutions + memory + pooling + 128 * 10


def test_an_image_network_is_counted_for_each_patch():
    one, three = (count_macs(_outline("backbone", frames=frames)) for frames in (64, 129))
    assert three - 3 * one == -2 * 576 * 10  # of the output, which is computed once


def test_an_outline_refuses_what_the_model_does():
    with pytest.raises(TfaudioError, match="width of 'resnet' must be a number from"):
        _outline("resnet", width=0)


def test_a_head_that_weighs_frames_by_class_is_counted_for_each_frame():
    # 6 frames of 192 channels, from which each class has a logit and a weight.
    mean, by_class = (count_macs(_outline("cnn", head=head)) for head in ("mean", "class_attention"))
    assert by_class - mean == 6 * 2 * 192 * 10 + 6 * 10 - 192 * 10
