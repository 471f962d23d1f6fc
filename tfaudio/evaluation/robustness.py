"""How much worse a run gets where recordings do: noise, level, clipping, codecs, a wrong clock, a late start, a room.

Every degradation is a pure function of (waveform, sample rate, severity, seed).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile
import tensorflow as tf

from tfaudio.augment.reverb import usable_response
from tfaudio.augment.room import decaying_noise
from tfaudio.bundle import Bundle
from tfaudio.data.recordings import Recordings
from tfaudio.data.split import hash_fraction
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import read_part, score_clips
from tfaudio.evaluation.protocol import FoldResult, fold_of
from tfaudio.evaluation.summary import METRICS, metric_of, summarize
from tfaudio.evaluation.tagging import TagResult
from tfaudio.registry import unknown_name_message

Waveform = npt.NDArray[np.float32]

_VOICES = 3  # that babble is made of: of more, hardly one is told apart
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_BLOCK = 2**16  # samples written at a time: libsndfile's Vorbis puts all of them on the stack
_MP3_DELAY = 1_105  # samples that encoder and decoder add, where no tag in the file tells a player to take them off


def add_noise(waveform: Waveform, noise: npt.ArrayLike, snr_db: float) -> Waveform:
    """Adds noise at a ratio of mean powers over the whole waveform; silence stays silent."""
    noise = np.asarray(noise, np.float64)
    power, noise_power = np.mean(np.square(waveform, dtype=np.float64)), np.mean(noise**2)
    if not power or not noise_power:
        return waveform
    return (waveform + np.sqrt(power / noise_power) * 10.0 ** (-snr_db / 20.0) * noise).astype(np.float32)


def white_noise(waveform: Waveform, sample_rate: int, snr_db: float, seed: int) -> Waveform:
    """Adds Gaussian white noise."""
    del sample_rate
    return add_noise(waveform, np.random.default_rng(seed).standard_normal(len(waveform)), snr_db)


def babble(waveform: Waveform, sample_rate: int, snr_db: float, seed: int, *, others: Sequence[Waveform]) -> Waveform:
    """Adds three other recordings at once, each as loud as the others, repeated from a random place on.

    Args:
      waveform: float32 [n].
      sample_rate: Hz, not used.
      snr_db: ratio to their sum.
      seed: decides which, and from where.
      others: to draw from, float32 [n] each.
    """
    del sample_rate
    rng = np.random.default_rng(seed)
    total = np.zeros(len(waveform))
    for number in rng.choice(len(others), min(_VOICES, len(others)), replace=False):
        voice = np.asarray(others[number], np.float64)
        level = np.sqrt(np.mean(voice**2))
        place = rng.integers(len(voice)) + np.arange(len(waveform))
        total += voice[place % len(voice)] / level if level else 0.0
    return add_noise(waveform, total, snr_db)


def gain(waveform: Waveform, sample_rate: int, decibel: float, seed: int) -> Waveform:
    """Makes a waveform louder or, below 0 dB, softer; nothing is clipped."""
    del sample_rate, seed
    return (waveform * np.float32(10.0 ** (decibel / 20.0))).astype(np.float32)


def clipping(waveform: Waveform, sample_rate: int, below_peak_db: float, seed: int) -> Waveform:
    """Cuts off what exceeds a level, given in decibels below the largest sample."""
    del sample_rate, seed
    level = np.abs(waveform).max(initial=0.0) * 10.0 ** (-below_peak_db / 20.0)
    return np.clip(waveform, -level, level).astype(np.float32)


def mp3(waveform: Waveform, sample_rate: int, kilobits: float, seed: int) -> Waveform:
    """Encodes to MP3 of a constant bit rate, in memory, and decodes again, without delay."""
    del seed
    low, high = _mp3_kilobits(sample_rate)
    # libsndfile takes the place between the highest and the lowest rate; at the very end of the scale LAME gives up.
    level = min((high - kilobits) / (high - low), 0.9999)
    return _through_codec(waveform, sample_rate, "MP3", "MPEG_LAYER_III", level, bitrate_mode="CONSTANT")


def vorbis(waveform: Waveform, sample_rate: int, quality: float, seed: int) -> Waveform:
    """Encodes to Ogg Vorbis of a quality from 0 to 10, in memory, and decodes again."""
    del seed
    return _through_codec(waveform, sample_rate, "OGG", "VORBIS", 1.0 - quality / 10.0)


def _through_codec(
    waveform: Waveform, sample_rate: int, container: str, codec: str, level: float, **options: str
) -> Waveform:
    contents = io.BytesIO()
    # What is beyond full scale would be cut off on the way; a codec does not mind the level.
    scale = np.float32(max(1.0, 1.01 * float(np.abs(waveform).max(initial=0.0))))
    with soundfile.SoundFile(
        contents, "w", sample_rate, 1, codec, format=container, compression_level=level, **options
    ) as file:
        for start in range(0, len(waveform), _BLOCK):
            file.write(waveform[start : start + _BLOCK] / scale)
    contents.seek(0)
    decoded: Waveform = soundfile.read(contents, dtype="float32")[0] * scale
    if container == "MP3" and len(decoded) >= len(waveform) + _MP3_DELAY:
        decoded = decoded[_MP3_DELAY:]
    return np.pad(decoded, (0, max(0, len(waveform) - len(decoded))))[: len(waveform)]


def _mp3_kilobits(sample_rate: int) -> tuple[int, int]:
    """Lowest and highest bit rate of MPEG 1, 2 or 2.5, whichever the sample rate belongs to."""
    return (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)


def wrong_clock(waveform: Waveform, sample_rate: int, percent: float, seed: int) -> Waveform:
    """Plays too fast, as where a recorder's clock is slow: pitch and tempo rise, and the sound gets shorter.

    Below 0 % it plays too slowly.
    """
    del sample_rate, seed
    return scipy.signal.resample_poly(waveform, 1_000, 1_000 + round(10 * percent)).astype(np.float32)


def late_start(waveform: Waveform, sample_rate: int, seconds: float, seed: int) -> Waveform:
    """Puts silence before the sound; nothing is cut off."""
    del seed
    return np.concatenate([np.zeros(round(seconds * sample_rate), np.float32), waveform])


def reverberation(waveform: Waveform, sample_rate: int, rt60_seconds: float, seed: int) -> Waveform:
    """Adds the echo of a room that is as loud as the sound itself and falls by 60 dB in the given time."""
    response = decaying_noise(
        rt60_seconds,
        sample_rate=sample_rate,
        num_samples=round(rt60_seconds * sample_rate),
        rng=np.random.default_rng(seed),
    )
    usable = usable_response(response.astype(np.float32), sample_rate=sample_rate, longest_seconds=rt60_seconds)
    return scipy.signal.fftconvolve(waveform, usable)[: len(waveform)].astype(np.float32)


@dataclass(frozen=True)
class Degradation:
    """One way in which recordings get worse.

    Args:
      title: what people read.
      unit: of the severities.
      severities: in the order of the table and of the picture.
      apply: (waveform, sample_rate, severity, seed) to the worse waveform.
      num_samples: (n, sample_rate, severity) to the length of the result; None where it stays.
      among_others: whether `apply` takes `others` too, the recordings of other classes.
      usable: (sample_rate, severity) to whether there is such a thing.
    """

    title: str
    unit: str
    severities: tuple[float, ...]
    apply: Callable[..., Waveform]
    num_samples: Callable[[int, int, float], int] | None = None
    among_others: bool = False
    usable: Callable[[int, float], bool] = lambda sample_rate, severity: True

    def exists_at(self, sample_rate: int) -> bool:
        """Whether any severity is to be had at a rate, Hz."""
        return any(self.usable(sample_rate, severity) for severity in self.severities)


_RATIOS_DB = (30.0, 20.0, 10.0, 5.0, 0.0, -5.0)
DEGRADATIONS: Mapping[str, Degradation] = {
    "white_noise": Degradation("white noise", "dB SNR", _RATIOS_DB, white_noise),
    "babble": Degradation("babble of other clips", "dB SNR", _RATIOS_DB, babble, among_others=True),
    "gain": Degradation("gain", "dB", (20.0, 10.0, -10.0, -20.0, -30.0, -40.0), gain),
    "clipping": Degradation("clipping", "dB below peak", (6.0, 12.0, 18.0, 24.0, 30.0), clipping),
    "mp3": Degradation(
        "MP3",
        "kbit/s",
        (64.0, 48.0, 32.0, 16.0, 8.0),
        mp3,
        usable=lambda rate, kilobits: rate in _MP3_RATES and kilobits >= _mp3_kilobits(rate)[0],
    ),
    "vorbis": Degradation("Ogg Vorbis", "quality", (6.0, 3.0, 1.0, 0.0), vorbis),
    "wrong_clock": Degradation(
        "wrong sample rate",
        "% too fast",
        (-8.1, -4.0, -2.0, 2.0, 4.0, 8.8),  # the ends: 48 kHz taken for 44.1, and 44.1 for 48
        wrong_clock,
        num_samples=lambda n, rate, percent: -(-n * 1_000 // (1_000 + round(10 * percent))),
    ),
    "late_start": Degradation(
        "silence before",
        "s",
        (0.05, 0.1, 0.25, 0.5),
        late_start,
        num_samples=lambda n, rate, seconds: n + round(seconds * rate),
    ),
    "reverberation": Degradation("reverberation", "s RT60", (0.2, 0.4, 0.8, 1.6), reverberation),
}


def choose_degradations(names: Iterable[str]) -> dict[str, Degradation]:
    """Returns the degradations of these names.

    Raises:
      TfaudioError: if there is none of a name.
    """
    for name in (names := list(names)):
        if name not in DEGRADATIONS:
            raise TfaudioError(unknown_name_message("degradation", name, list(DEGRADATIONS)))
    return {name: DEGRADATIONS[name] for name in names}


@dataclass(frozen=True)
class _Degraded(Recordings):
    """Recordings that are made worse when they are asked for: all of them together would not fit into memory."""

    degrade: Callable[[int], Waveform]

    def waveform_loader(self) -> Any:
        def load(index: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(self.degrade, [index], tf.float32), [None])

        return load


Point = tuple[str, float]  # a degradation's name and a severity
CLEAN: Point = ("clean", 0.0)


def measure_run(
    bundle: Bundle,
    degradations: Mapping[str, Degradation],
    *,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[Point, FoldResult | TagResult]:
    """Scores a run on its test recordings, clean and degraded in every way.

    Args:
      bundle: the run.
      degradations: by name; severities that its sample rate does not allow are left out.
      limit: test recordings to take, evenly spread; None takes all.
      seed: of noise and rooms; a recording meets the same ones in every severity, and in every run.
      progress: show bars.

    Raises:
      TfaudioError: if the data cannot be read or have changed, or no other clips are there to babble.
    """
    data, indices = read_part(bundle, "test", progress=progress)
    if not len(indices):
        raise TfaudioError("None of the test recordings can be used; mend them, or change the split.")
    if limit is not None and limit < len(indices):
        indices = indices[np.linspace(0, len(indices) - 1, limit).round().astype(int)]
    rate, load = bundle.config.front_end.sample_rate, data.recordings.waveform_loader()
    waveforms: list[Waveform] = [load(tf.constant(index)).numpy() for index in indices]
    targets = data.targets(bundle.labels, multi_hot=True)[indices] > 0
    clips = tuple(data.recordings.clips[index] for index in indices)
    names = [data.spec.relative_path(clip) for clip in clips]
    seeds = [int(hash_fraction(name, str(seed)) * 2**32) for name in names]
    babblers = babblers_of(waveforms, targets) if any(d.among_others for d in degradations.values()) else {}
    if not all(babblers.values()):
        raise TfaudioError(
            f"All test recordings of {bundle.path} have the same class, so none can babble; name the other "
            "degradations by --degradations."
        )

    for missing in (name for name, degradation in degradations.items() if not degradation.exists_at(rate)):
        raise TfaudioError(
            f"There is no '{missing}' of recordings at {rate} Hz (front_end.sample_rate); leave it out of "
            "--degradations."
        )
    points = [CLEAN] + [(n, s) for n, d in degradations.items() for s in d.severities if d.usable(rate, s)]
    lengths = np.array([_num_samples(point, len(w), rate) for point in points for w in waveforms], np.int64)

    def degrade(index: int) -> Waveform:
        (name, severity), clip = points[index // len(clips)], index % len(clips)
        if name == CLEAN[0]:
            return waveforms[clip]
        degradation = degradations[name]
        apply = degradation.apply
        if degradation.among_others:
            apply = functools.partial(apply, others=babblers[targets[clip].tobytes()])
        return apply(waveforms[clip], rate, severity, seeds[clip])

    degraded = _Degraded(
        clips=clips * len(points),
        lengths=lengths,
        sample_rate=rate,
        source_rates=(rate,),
        engine=data.recordings.engine,
        samples=None,
        skipped=(),
        degrade=degrade,
    )
    name = f"degrading {bundle.path.name}" if progress else None
    scores = score_clips(bundle, degraded, np.arange(len(lengths)), progress=name)
    config = bundle.config
    fold, seed_of_run, of_group = fold_of(config), config.training.seed, config.data.test_group is not None
    results: dict[Point, FoldResult | TagResult] = {}
    for point, rows in zip(points, scores.reshape(len(points), len(clips), -1), strict=True):
        if config.multi_label:
            results[point] = TagResult(fold, targets, rows, seed=seed_of_run, of_group=of_group)
        else:
            correct = tuple(bool(c) for c in rows.argmax(axis=1) == targets.argmax(axis=1))
            results[point] = FoldResult(fold, correct, seed=seed_of_run, of_group=of_group)
    return results


def babblers_of(waveforms: Sequence[Waveform], targets: npt.NDArray[np.bool_]) -> dict[bytes, list[Waveform]]:
    """The recordings of other classes by a target's bytes; of tags, those that have the fewest in common with it.

    `targets` are [clips, classes].
    """
    found = {}
    for target in np.unique(targets, axis=0):
        others = np.flatnonzero((targets != target).any(axis=1))
        common = (targets[others] & target).sum(axis=1)
        found[target.tobytes()] = [waveforms[index] for index in others[common == common.min(initial=len(target))]]
    return found


def _num_samples(point: Point, num_samples: int, sample_rate: int) -> int:
    name, severity = point
    rule = None if name == CLEAN[0] else DEGRADATIONS[name].num_samples
    return num_samples if rule is None else rule(num_samples, sample_rate, severity)


def robustness_record(runs: Sequence[Mapping[Point, FoldResult | TagResult]]) -> dict[str, Any]:
    """Brings the runs of a cross-validation together.

    Args:
      runs: what `measure_run` gave of each; only what all of them have is kept.

    Returns:
      clean: the main figure by its key, its 95 % interval and the number of clips, as `summarize` gives them.
      degradations: for each, name, title, unit and points: severity, the same figure and interval.
    """
    common = [point for point in runs[0] if all(point in run for run in runs)]
    summaries = {point: summarize([run[point] for run in runs]) for point in common}

    def figures(point: Point) -> dict[str, Any]:
        summary = summaries[point]
        return {summary["metric"]: summary["value"], "interval": summary["interval"]}

    rows = []
    for name in dict.fromkeys(name for name, _ in common if name != CLEAN[0]):
        known = DEGRADATIONS[name]
        points = [{"severity": s, **figures((name, s))} for n, s in common if n == name]
        rows.append({"name": name, "title": known.title, "unit": known.unit, "points": points})
    clean = {**figures(CLEAN), "num_clips": summaries[CLEAN]["num_clips"]}
    return {"clean": clean, "degradations": rows}


def robustness_table(record: Mapping[str, Any], *, title: str = "") -> str:
    """Lays the figures out: of each degradation a line of severities and one of figures."""
    clean, metric = record["clean"], metric_of(record["clean"])
    low, high = clean["interval"]
    lines = [title, ""] if title else []
    lines += [
        f"clean: {METRICS[metric]} {clean[metric]:.1%} over {clean['num_clips']} recordings (95 % interval {low:.1%} "
        f"to {high:.1%})",
        "",
    ]
    heads = [f"{row['title']}, {row['unit']}" for row in record["degradations"]]
    width = max(map(len, heads), default=0)
    for head, row in zip(heads, record["degradations"], strict=True):
        lines.append(f"{head:<{width}}  " + "".join(f"{point['severity']:>8g}" for point in row["points"]))
        lines.append(f"{'':<{width}}  " + "".join(f"{point[metric]:>8.1%}" for point in row["points"]))
    return "\n".join(lines) + "\n"


def robustness_png(record: Mapping[str, Any], *, title: str = "") -> bytes:
    """Draws a curve a degradation, with its 95 % interval, and the clean figure as a dashed line.

    Returns:
      The content of a PNG file.
    """
    from matplotlib.figure import Figure

    rows, metric = record["degradations"], metric_of(record["clean"])
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * lines + 0.4), dpi=120, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, row in zip(grid, rows, strict=False):
        places = range(len(row["points"]))
        axes.fill_between(places, *zip(*(p["interval"] for p in row["points"]), strict=True), alpha=0.2, linewidth=0)
        axes.plot(places, [p[metric] for p in row["points"]], marker="o")
        axes.axhline(record["clean"][metric], color="0.4", linestyle="--", linewidth=1)
        axes.set_xticks(places, [f"{p['severity']:g}" for p in row["points"]])
        axes.set_title(row["title"], fontsize=10)
        axes.set_xlabel(row["unit"], fontsize=9)
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
    for axes in grid[len(rows) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel(METRICS[metric])
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
