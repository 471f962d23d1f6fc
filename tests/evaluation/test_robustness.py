"""Each degradation does what its unit says, measured on the result and not by its own formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import soundfile

from tfaudio.errors import TfaudioError
from tfaudio.evaluation import robustness
from tfaudio.evaluation.protocol import FoldResult
from tfaudio.evaluation.robustness import (
    CLEAN,
    DEGRADATIONS,
    babblers_of,
    robustness_png,
    robustness_record,
    robustness_table,
)

RATE = 16_000


def tone(hertz: float = 440.0, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def burst(rate: int = RATE) -> np.ndarray:
    """A chirp with silence around it: a sound that tells a delay of one sample."""
    time = np.arange(rate // 2) / rate
    sound = 0.5 * np.sin(2 * np.pi * (300 * time + 1_500 * time**2)) * np.exp(-(((time - 0.25) / 0.05) ** 2))
    return sound.astype(np.float32)


def decibel(ratio: float) -> float:
    return 10 * np.log10(ratio)


def power(values: np.ndarray) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))


def apply(name: str, waveform: np.ndarray, severity: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    degradation = DEGRADATIONS[name]
    rng = np.random.default_rng(9)
    others = {"others": [rng.uniform(-0.1, 0.1, n).astype(np.float32) for n in (3_000, 9_000, 4_000, 20_000)]}
    return degradation.apply(waveform, rate, severity, seed, **(others if degradation.among_others else {}))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_seed_decides_all_and_the_waveform_given_is_left_alone(name: str) -> None:
    waveform = burst()
    kept = waveform.copy()
    rule = DEGRADATIONS[name].num_samples
    for severity in DEGRADATIONS[name].severities:
        worse = apply(name, waveform, severity)
        assert worse.dtype == np.float32
        assert len(worse) == (len(waveform) if rule is None else rule(len(waveform), RATE, severity))
        assert np.isfinite(worse).all()
        np.testing.assert_array_equal(worse, apply(name, waveform, severity))
        np.testing.assert_array_equal(waveform, kept)
        assert (worse[: len(waveform)] != waveform[: len(worse)]).any()
        silence = apply(name, np.zeros(4_000, np.float32), severity)
        assert np.abs(silence).max() < 1e-4
    if name in ("white_noise", "babble", "reverberation"):
        assert (apply(name, waveform, severity, seed=1) != worse).any()


@pytest.mark.parametrize("name", ["white_noise", "babble"])
@pytest.mark.parametrize("ratio", [30.0, 0.0, -5.0])
def test_noise_has_the_ratio_that_it_is_called_by(name: str, ratio: float) -> None:
    waveform = tone()
    noise = apply(name, waveform, ratio).astype(np.float64) - waveform
    assert decibel(power(waveform) / power(noise)) == pytest.approx(ratio, abs=0.01)


def test_white_noise_is_white() -> None:
    noise = apply("white_noise", tone(seconds=4.0), 0.0).astype(np.float64) - tone(seconds=4.0)
    _, density = scipy.signal.welch(noise, RATE, nperseg=512)
    bands = density[1:-1].reshape(-1, 15).mean(axis=1)
    assert decibel(bands.max() / bands.min()) < 1.5


def test_babble_is_made_of_the_others_and_of_several() -> None:
    waveform = np.full(8_000, 0.1, np.float32)
    others = [tone(hertz, 0.3) * scale for hertz, scale in ((500.0, 1.0), (1_500.0, 0.01), (3_000.0, 0.5))]
    babble = robustness.babble(waveform, RATE, 0.0, 1, others=others).astype(np.float64) - waveform
    spectrum = np.abs(np.fft.rfft(babble * np.hanning(len(babble))))
    levels = [spectrum[round(hertz * len(babble) / RATE)] for hertz in (500, 1_500, 3_000)]
    assert max(levels) / min(levels) < 1.2  # each as loud as the others, whatever it was
    one = robustness.babble(waveform, RATE, 0.0, 1, others=others[:1])
    assert decibel(power(waveform) / power(one.astype(np.float64) - waveform)) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("change", [20.0, -40.0])
def test_gain_changes_the_level_and_nothing_else(change: float) -> None:
    louder = apply("gain", burst(), change)
    assert decibel(power(louder) / power(burst())) == pytest.approx(change, abs=1e-4)
    assert np.corrcoef(louder, burst())[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_clipping_cuts_at_its_level() -> None:
    clipped = apply("clipping", tone(), 6.0)
    assert np.abs(clipped).max() == pytest.approx(0.4 / 1.9953, rel=1e-3)
    # A sine is above half its peak for two thirds of the time.
    assert np.mean(np.abs(clipped) > 0.2) == pytest.approx(2 / 3, abs=0.01)
    untouched = np.abs(tone()) < 0.19
    np.testing.assert_array_equal(clipped[untouched], tone()[untouched])


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_mp3_has_its_bit_rate_and_no_delay(rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = soundfile.read

    def measured(file, *args, **kwargs):
        sizes.append(len(file.getvalue()))
        return read(file, *args, **kwargs)

    monkeypatch.setattr(soundfile, "read", measured)
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * rate).astype(np.float32)
    usable = [s for s in DEGRADATIONS["mp3"].severities if DEGRADATIONS["mp3"].usable(rate, s)]
    assert len(usable) >= 3
    errors = []
    for kilobits in usable:
        apply("mp3", noise, kilobits, rate=rate)
        assert sizes[-1] * 8 / 4 / 1_000 == pytest.approx(kilobits, rel=0.08)
        decoded = apply("mp3", burst(rate), kilobits, rate=rate)
        lags = scipy.signal.correlation_lags(len(decoded), len(decoded))
        assert abs(lags[np.argmax(scipy.signal.correlate(decoded, burst(rate)))]) <= 1
        errors.append(power(decoded - burst(rate)))
    assert errors[0] < errors[-1]


def test_what_mp3_does_not_know_is_left_out() -> None:
    usable = DEGRADATIONS["mp3"].usable
    assert not usable(20_000, 32.0)
    assert not usable(44_100, 16.0)
    assert usable(16_000, 8.0)


def test_vorbis_takes_more_than_a_stack_holds() -> None:
    """libsndfile 1.2 ends the process where two million samples are written at once."""
    long = np.tile(burst(), 2**21 // len(burst()) + 2)
    decoded = apply("vorbis", long, 10.0)
    assert power(decoded - long) < 0.01 * power(long)


def test_vorbis_gets_worse_with_its_quality_and_keeps_the_level_of_loud_sounds() -> None:
    loud = 3.0 * burst()
    errors = [power(apply("vorbis", loud, quality) - loud) / power(loud) for quality in (10.0, 3.0, 0.0)]
    assert errors[0] < errors[1] < errors[2] < 0.1


@pytest.mark.parametrize("percent", [-8.1, -2.0, 1.0, 8.8])
def test_a_wrong_clock_changes_the_pitch_and_the_length(percent: float) -> None:
    fast = apply("wrong_clock", tone(1_000.0, 2.0), percent)
    assert len(fast) == math.ceil(2 * RATE / (1 + percent / 100))
    assert len(fast) == DEGRADATIONS["wrong_clock"].num_samples(2 * RATE, RATE, percent)
    spectrum = np.abs(np.fft.rfft(fast * np.hanning(len(fast)), 16 * len(fast)))
    peak = np.argmax(spectrum) * RATE / (16 * len(fast))
    assert peak == pytest.approx(1_000.0 * (1 + percent / 100), abs=0.2)


def test_a_late_start_is_silent_and_loses_nothing() -> None:
    late = apply("late_start", burst(), 0.25)
    assert not late[: RATE // 4].any()
    np.testing.assert_array_equal(late[RATE // 4 :], burst())


@pytest.mark.parametrize("seconds", [0.4, 0.8])
def test_reverberation_falls_by_60_db_in_its_time(seconds: float) -> None:
    impulse = np.zeros(2 * RATE, np.float32)
    impulse[100] = 1.0
    tail = apply("reverberation", impulse, seconds, seed=2).astype(np.float64)
    assert not np.abs(tail[:100]).max() > 1e-6
    assert power(tail) == pytest.approx(power(impulse), rel=1e-3)
    # Schroeder's integral of the squared response, fitted from -5 to -25 dB.
    decay = np.cumsum((tail[101:] ** 2)[::-1])[::-1]
    level = 10 * np.log10(decay / decay[0] + 1e-12)
    chosen = (level < -5) & (level > -25)
    slope = np.polyfit(np.flatnonzero(chosen) / RATE, level[chosen], 1)[0]
    assert -60 / slope == pytest.approx(seconds, rel=0.1)


def result(right: int, fold: str = "1") -> FoldResult:
    return FoldResult(fold, (True,) * right + (False,) * (10 - right))


def test_folds_are_brought_together_and_laid_out() -> None:
    runs = [
        {CLEAN: result(10), ("gain", -40.0): result(8), ("mp3", 16.0): result(9)},
        {CLEAN: result(9, "2"), ("gain", -40.0): result(4, "2")},
    ]
    record = robustness_record(runs)
    assert record["clean"]["accuracy"] == pytest.approx(0.95)
    assert record["clean"]["num_clips"] == 20
    (gain,) = record["degradations"]  # the second run's rate knows no MP3
    (point,) = gain["points"]
    assert (point["severity"], point["accuracy"]) == (-40.0, pytest.approx(0.6))
    assert point["interval"][0] < 0.6 < point["interval"][1]
    table = robustness_table(record, title="words")
    assert "clean: accuracy 95.0% over 20 recordings" in table
    head, values = table.splitlines()[-2:]
    assert head.split() == ["gain,", "dB", "-40"]
    assert values.split() == ["60.0%"]
    assert len(head) == len(values)
    assert robustness_png(record, title="100 $ and $x_")[:4] == b"\x89PNG"


def test_those_babble_that_have_the_fewest_tags_in_common() -> None:
    tags = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]], bool)
    waveforms = [np.full(1, number, np.float32) for number in range(len(tags))]
    found = {target: [int(w[0]) for w in others] for target, others in babblers_of(waveforms, tags).items()}
    assert found[tags[1].tobytes()] == [2, 3]
    assert found[tags[3].tobytes()] == [0, 1, 2, 4, 5]  # of nothing, nothing is in common
    assert found[tags[0].tobytes()] == [3]
    assert babblers_of(waveforms[:1], tags[:1]) == {tags[0].tobytes(): []}


def test_unknown_degradations_are_told() -> None:
    with pytest.raises(TfaudioError, match="Did you mean 'babble'"):
        robustness.choose_degradations(["bable"])
