"""Augmentation inside the pipeline: the same at any parallelism, absent from evaluation, its files checked."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from tfaudio.config import RunConfig
from tfaudio.data.augmentation import augmentation_sounds
from tfaudio.data.pipeline import Pipeline
from tfaudio.data.recordings import read_recordings
from tfaudio.data.spec import Clip
from tfaudio.errors import TfaudioError

RATE = 16_000
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Twelve clips of unequal length."""
    folder = tmp_path_factory.mktemp("clips")
    clips = []
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", RNG.uniform(-0.5, 0.5, 3000 + 900 * i), RATE, subtype="FLOAT")
        clips.append(Clip(str(folder / f"{i}.wav"), "x"))
    return clips


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of two recordings at other rates, one of them in a folder of its own, and a note about them."""
    folder = tmp_path_factory.mktemp("sounds")
    (folder / "deep").mkdir()
    soundfile.write(folder / "a.wav", RNG.uniform(-0.5, 0.5, 44_100), 44_100)
    soundfile.write(folder / "deep" / "b.flac", RNG.uniform(-0.5, 0.5, (500, 2)), 8_000)
    (folder / "readme.txt").write_text("recorded in a cafe")
    return folder


def everything_on(sounds):
    groups = ("speed", "time_stretch", "pitch_shift", "reverb", "background", "filter", "clipping", "codec")
    return {
        **{f"augment.{name}.probability": 0.5 for name in (*groups, "filter_augment", "cutmix", "same_class")},
        "augment.noise_probability": 0.5,
        "augment.noise_colors": ["white", "pink", "brown"],
        "augment.polarity_probability": 0.5,
        "augment.reverb.responses": 3,
        "augment.background.dir": str(sounds),
        "augment.time_warp": 0.2,
        "augment.frequency_shift": 2,
        "augment.mixup_probability": 0.5,
    }


def pipeline(clips, **overrides):
    config = RunConfig().override(
        {
            "front_end.frame_length": 256,
            "front_end.frame_step": 128,
            "front_end.fft_length": 256,
            "front_end.num_mel_bins": 20,
            "clip.seconds": 0.4,
            "training.batch_size": 4,
            "training.epochs": 2,
            **overrides,
        }
    )
    loaded = read_recordings(clips, sample_rate=RATE, config=config.data, progress=False)
    return Pipeline(loaded, np.arange(12) % 3, 3, config)


def flat(batches):
    """All arrays of all batches, one after the other."""
    arrays = []
    for inputs, *rest in batches.as_numpy_iterator():
        arrays += [*(inputs.values() if isinstance(inputs, dict) else [inputs]), *rest]
    return arrays


@pytest.mark.parametrize(("seconds", "memory"), [(0.4, 0.0), (None, 4.0)], ids=["windows", "whole"])
def test_batches_are_the_same_whatever_the_parallelism(recordings, sounds, seconds, memory):
    settings = {**everything_on(sounds), "clip.seconds": seconds, "data.memory_gigabytes": memory}
    settings["augment.between_class.probability"] = 0.5 if seconds else 0.0
    one, four = (
        flat(pipeline(recordings, **settings, **{"data.parallel_calls": calls}).training(np.arange(12)))
        for calls in (1, 4)
    )
    assert len(one) == 6 * (2 if seconds else 3)
    for a, b in zip(one, four, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    assert len({a.tobytes() for a in one[:: len(one) // 6]}) == 6  # the features of each step are others


@pytest.mark.parametrize("seconds", [0.4, None])
def test_evaluation_is_never_augmented(recordings, sounds, seconds):
    off = {f"augment.{n}": 0 for n in ("time_shift", "gain_db", "noise_probability", "time_masks", "frequency_masks")}
    plain = pipeline(recordings, **off, **{"augment.mixup_alpha": 0, "clip.seconds": seconds})
    augmented = pipeline(recordings, **everything_on(sounds), **{"clip.seconds": seconds})
    for a, b in zip(flat(plain.evaluation(np.arange(12))), flat(augmented.evaluation(np.arange(12))), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(plain.waveform_windows(3), augmented.waveform_windows(3))
    a, b = (p.fit_normalization(np.arange(12)) for p in (plain, augmented))
    np.testing.assert_array_equal(a.mean, b.mean)


def test_evaluation_needs_no_files_of_augmentation(recordings):
    gone = {"augment.background.probability": 0.5, "augment.background.dir": "/nowhere/at/all"}
    trained_elsewhere = pipeline(recordings, **gone)
    assert flat(trained_elsewhere.evaluation(np.arange(12)))
    with pytest.raises(TfaudioError, match=r"augment\.background\.dir names /nowhere/at/all, which is no folder"):
        trained_elsewhere.training(np.arange(12))


def test_a_crop_may_always_be_the_start(recordings):
    settings = {f"augment.{n}": 0 for n in ("time_shift", "gain_db", "noise_probability", "mixup_alpha")}
    settings |= {"augment.time_masks": 0, "augment.frequency_masks": 0, "clip.seconds": 0.1}
    one, two = (
        next(iter(pipeline(recordings, **settings, **{"augment.random_crop": random}).training(np.array([11]))))[0]
        for random in (False, True)
    )
    start = next(iter(pipeline(recordings, **settings).evaluation(np.array([11]))))[0][:1]
    np.testing.assert_allclose(one, start, atol=1e-4)
    assert np.abs(two - start).max() > 0.1


def sound_settings(folder, **others):
    return RunConfig().override(
        {
            "augment.background.probability": 0.5,
            "augment.background.dir": str(folder),
            **{f"augment.{key}": value for key, value in others.items()},
        }
    )


def test_recordings_of_a_folder_are_decoded_at_the_front_ends_rate(sounds):
    backgrounds, responses = augmentation_sounds(sound_settings(sounds))
    assert responses is None
    assert [len(w) for w in backgrounds] == [16_000, 1_000]
    left, right = soundfile.read(sounds / "deep" / "b.flac")[0].T
    np.testing.assert_allclose(backgrounds[1][200:-200:2], (left + right)[100:-100] / 2, atol=0.2)
    reverb = {"reverb.probability": 1.0, "reverb.source": "files", "reverb.dir": str(sounds)}
    again, responses = augmentation_sounds(sound_settings(sounds, **reverb))
    np.testing.assert_array_equal(responses[0], again[0])
    assert augmentation_sounds(RunConfig()) == (None, None)


def _empty(folder):
    pass


def _only_text(folder):
    (folder / "note.txt").write_text("x")


def _damaged(folder):
    soundfile.write(folder / "a.wav", np.ones(9) * 0.1, RATE)
    (folder / "b.wav").write_bytes(b"RIFF is not enough")


def _silent(folder):
    soundfile.write(folder / "a.wav", np.zeros(9), RATE)


def _nan(folder):
    soundfile.write(folder / "a.wav", np.full(9, np.nan), RATE, subtype="FLOAT")


def _long(folder):
    soundfile.write(folder / "a.wav", RNG.uniform(-1, 1, 300_000), RATE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_empty, r"augment\.background\.dir names .*, which holds no recordings"),
        (_only_text, r"augment\.background\.dir names .*, which holds no recordings"),
        (_damaged, r"b\.wav \(of augment\.background\.dir\) "),
        (_silent, r"a\.wav \(of augment\.background\.dir\) is silent throughout"),
        (_nan, r"a\.wav \(of augment\.background\.dir\) holds NaN"),
        (_long, r"take more than 1 MB of memory; raise augment\.background\.memory_megabytes, or take fewer"),
    ],
)
def test_recordings_that_cannot_be_used_are_told_before_training(make, message, tmp_path):
    make(tmp_path)
    with pytest.raises(TfaudioError, match=message):
        augmentation_sounds(sound_settings(tmp_path, **{"background.memory_megabytes": 1.0}))


def test_a_silent_response_is_told_by_its_own_key(tmp_path):
    _silent(tmp_path)
    reverb = {"reverb.probability": 1.0, "reverb.source": "files", "reverb.dir": str(tmp_path)}
    with pytest.raises(TfaudioError, match=r"augment\.reverb\.dir\) is silent"):
        augmentation_sounds(RunConfig().override({f"augment.{key}": value for key, value in reverb.items()}))
