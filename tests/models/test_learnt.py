"""Learnt filter banks and energy normalisation, against SciPy in float64 and what their formulas promise."""

from __future__ import annotations

import keras
import librosa
import numpy as np
import pytest
import scipy.signal

from tfaudio.config import FrontEndConfig, RunConfig
from tfaudio.errors import TfaudioError
from tfaudio.features.pcen import smoothing_coefficient
from tfaudio.models.classifier import body, build_classifier, learnt_front_end
from tfaudio.models.learnt import Filterbank, Pcen, build_learnt_front_end

RATE, STEP = 8_000, 80
LEAF = FrontEndConfig(
    sample_rate=RATE,
    feature="leaf",
    frame_length=256,
    frame_step=STEP,
    fft_length=256,
    num_mel_bins=24,
    compression="none",
)
SINCNET = LEAF.replace(feature="sincnet")


def _filterbank(config: FrontEndConfig) -> Filterbank:
    layer = Filterbank(config)
    layer.build((None, None, config.frame_step))
    return layer


def _steps(waveform: np.ndarray) -> np.ndarray:
    frames = 1 + len(waveform) // STEP
    return np.pad(waveform, (0, frames * STEP - len(waveform))).reshape(1, frames, STEP).astype(np.float32)


def _complex_filters(layer: Filterbank) -> np.ndarray:
    real, imaginary = np.split(np.asarray(layer.filters(), np.float64), 2, axis=1)
    return (real + 1j * imaginary).T  # [filters, length]


def _gain(impulse: np.ndarray, hertz: float) -> float:
    time = (np.arange(len(impulse)) - len(impulse) // 2) / RATE
    return abs(np.sum(impulse * np.exp(-2j * np.pi * hertz * time)))


def _mel_centres_and_widths(config: FrontEndConfig) -> tuple[np.ndarray, np.ndarray]:
    edges = librosa.mel_frequencies(config.num_mel_bins + 2, fmin=0.0, fmax=RATE / 2)
    return edges[1:-1], np.maximum((edges[2:] - edges[:-2]) / 2, 2 * RATE / config.frame_length)


def test_gabor_filters_start_as_mel_bands():
    layer = _filterbank(LEAF)
    for impulse, centre, width in zip(_complex_filters(layer), *_mel_centres_and_widths(LEAF), strict=True):
        if width < 3 * RATE / LEAF.frame_length:  # cut off by their frame
            continue
        assert _gain(impulse, centre) == pytest.approx(1.0, abs=0.01)
        for hertz in (centre - width / 2, centre + width / 2):
            assert _gain(impulse, hertz) ** 2 == pytest.approx(0.5, abs=0.01)


def test_sinc_filters_pass_their_band_and_stop_the_rest():
    config = SINCNET.replace(num_mel_bins=12)  # wide bands, which the frame does not blur
    layer = _filterbank(config)
    centres, widths = _mel_centres_and_widths(config)
    for impulse, centre, width in list(zip(_complex_filters(layer), centres, widths, strict=True))[-4:]:
        assert _gain(impulse, centre) == pytest.approx(1.0, abs=0.02)
        assert _gain(impulse, centre + width / 2) == pytest.approx(0.5, abs=0.02)
        assert _gain(impulse, centre + width) < 0.02


@pytest.mark.parametrize("config", [LEAF, SINCNET], ids=["leaf", "sincnet"])
def test_energies_equal_a_convolution_at_full_rate_in_float64(config):
    rng = np.random.default_rng(0)
    layer = _filterbank(config)
    for weight in layer.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    waveform = rng.normal(size=1200)
    actual = np.asarray(layer(_steps(waveform)))[0]
    padded = _steps(waveform).reshape(-1).astype(np.float64)
    # Smoothing: a Gaussian of 0.4 of half a frame, times what was learnt, within half a frame.
    deviation = 0.4 * (config.frame_length // 2) * np.exp(np.asarray(layer.log_smoothing, np.float64))
    reach = config.frame_length // 2
    expected = []
    for impulse, spread in zip(_complex_filters(layer), deviation, strict=True):
        # The layer slides its filters without turning them round, which conjugates a symmetric complex one.
        energy = np.abs(scipy.signal.correlate(np.pad(padded, (128, 127)), impulse.conj(), "valid")) ** 2
        gauss = np.exp(-0.5 * (np.arange(-reach, reach + 1) / spread) ** 2)
        smooth = np.convolve(np.pad(energy, reach), gauss / gauss.sum(), "valid")
        expected.append(smooth[::STEP])
    expected = np.array(expected).T
    assert actual.shape == expected.shape == (16, 24)
    # The layer computes the energy at a fraction of the rate: within 1 % of its largest value.
    assert layer.stride > 1
    assert np.abs(actual - expected).max() < 0.01 * expected.max()


def test_a_tone_lies_in_its_filter_at_every_frame():
    layer = _filterbank(LEAF)
    centres, _ = _mel_centres_and_widths(LEAF)
    for index in (3, 12, 22):
        tone = np.sin(2 * np.pi * centres[index] * np.arange(RATE) / RATE)
        energy = np.asarray(layer(_steps(tone)))[0]
        assert energy.shape == (LEAF.num_frames(RATE), 24)
        assert (energy[3:-3].argmax(axis=1) == index).all()
        np.testing.assert_allclose(energy[3:-3, index], 0.25, rtol=0.02)  # half the amplitude, squared


def test_learnt_pcen_equals_librosa_bin_by_bin():
    config = FrontEndConfig(compression="pcen", pcen={"trainable": True}, frame_step=160)
    energy = np.random.default_rng(1).gamma(0.5, 1e-2, (2, 150, 3)).astype(np.float32)
    layer = Pcen(config)
    layer.build(energy.shape)
    layer.gain.assign([0.0, -0.2, 0.5])  # the last is held to a gain of 1
    layer.log_bias.assign(np.log([1.0, 0.5, 2.0]))
    layer.log_power.assign(np.log([1.0, 0.5, 8.0]))  # the last is held to a power of 1
    actual = np.asarray(layer(energy))
    b = smoothing_coefficient(config)
    for index, (gain, bias, power) in enumerate([(0.98, 2.0, 0.5), (0.78, 1.0, 0.25), (1.0, 4.0, 1.0)]):
        band = energy[..., index].astype(np.float64)
        expected = librosa.pcen(
            band,
            sr=config.sample_rate,
            hop_length=config.frame_step,
            gain=gain,
            bias=bias,
            power=power,
            zi=(1 - b) * band[..., :1],
        )
        np.testing.assert_allclose(actual[..., index], expected, rtol=1e-3, atol=2e-6)


def test_pcen_learns_only_on_request():
    for trainable in (False, True):
        layer = Pcen(FrontEndConfig(compression="pcen", pcen={"trainable": trainable}))
        layer.build((None, None, 64))
        assert len(layer.trainable_weights) == (3 if trainable else 0)


@pytest.mark.parametrize(
    ("feature", "compression"), [("leaf", "log"), ("leaf", "pcen"), ("sincnet", "none"), ("mel", "pcen")]
)
def test_padding_under_a_mask_changes_nothing(feature, compression):
    config = LEAF.replace(feature=feature, compression=compression)
    config = config.override({"pcen.trainable": compression == "pcen"})
    plain, masked = (build_learnt_front_end(config, masked=m) for m in (False, True))
    rng = np.random.default_rng(2)
    masked.set_weights([w + rng.uniform(0.1, 0.3, w.shape) for w in masked.get_weights()])
    plain.set_weights(masked.get_weights())
    values = np.abs(rng.normal(size=(2, 11, config.num_bins))).astype(np.float32)
    padded = np.concatenate([values, np.full((2, 7, config.num_bins), 9.0, np.float32)], axis=1)
    mask = np.tile(np.arange(18) < 11, (2, 1))
    expected, actual = np.asarray(plain(values)), np.asarray(masked({"features": padded, "mask": mask}))
    assert expected.shape == (2, 11, config.num_learnt_bins)
    np.testing.assert_allclose(actual[:, :11], expected, atol=1e-4)
    assert not actual[:, 11:].any()


@pytest.mark.parametrize("feature", ["leaf", "sincnet"])
def test_filters_find_what_tells_the_classes_apart(feature):
    # Two tones a quarter of a band apart: the classifier learns, and every parameter of the filters moves.
    keras.utils.set_random_seed(0)
    config = RunConfig().override(
        {
            **{f"front_end.{key}": value for key, value in LEAF.to_dict().items()},
            "front_end.feature": feature,
            "front_end.compression": "pcen",
            "front_end.pcen.trainable": True,
            "model.name": "dense",
            "model.options": {"units": [16]},
        }
    )
    classifier = build_classifier(config, 2, masked=False)
    rng = np.random.default_rng(3)
    targets = np.arange(48) % 2
    hertz = np.where(targets == 0, 900.0, 1000.0)[:, None]
    tones = np.sin(2 * np.pi * (hertz * np.arange(2400) / RATE + rng.uniform(size=(48, 1))))
    steps = np.concatenate([_steps(tone) for tone in tones + 0.05 * rng.normal(size=tones.shape)])
    classifier.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    classifier.fit(steps, targets, epochs=15, batch_size=16, verbose=0)
    assert (classifier.predict(steps, verbose=0).argmax(axis=1) == targets).mean() > 0.9
    for weight in learnt_front_end(classifier).trainable_weights:
        assert np.abs(np.asarray(weight)).max() > 1e-4, weight.path
    assert body(classifier).name == "dense"


def test_a_classifier_without_a_learnt_part_is_its_own_body():
    classifier = build_classifier(RunConfig(), 3, masked=False)
    assert learnt_front_end(classifier) is None
    assert body(classifier) is classifier


def test_a_learnt_front_end_survives_saving(tmp_path):
    config = RunConfig(front_end=LEAF.replace(compression="pcen", pcen={"trainable": True}))
    classifier = build_classifier(config, 3, masked=False)
    classifier.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    steps = np.random.default_rng(4).normal(size=(2, 9, STEP)).astype(np.float32)
    np.testing.assert_array_equal(again(steps), classifier(steps))


def test_half_precision_leaves_energies_alone():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert _filterbank(LEAF)(np.ones((1, 4, STEP), np.float32)).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_frame_too_short_for_filters_is_refused():
    with pytest.raises(TfaudioError, match=r"frame_length \(2\) is too short"):
        Filterbank(LEAF.replace(frame_length=2, num_mel_bins=4))
