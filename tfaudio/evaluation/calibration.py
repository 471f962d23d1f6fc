"""Scores that mean what they say: a temperature, and thresholds, found on held-out training recordings alone.

The temperature T divides the logits, so that scores are softmax(logits / T), or sigmoid(logits / T) of a tagger: the
order of a window's classes stays, and how sure the scores are is fitted to how often they are right.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

from tfaudio.bundle import Bundle, read_split
from tfaudio.data.recordings import read_recordings
from tfaudio.data.spec import Clip
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import read_part, window_logits
from tfaudio.labels import LabelMap
from tfaudio.model_settings import tag_thresholds
from tfaudio.ranking import mean_average_precision

Array = npt.NDArray[np.float64]

NUM_BINS = 15
_TEMPERATURES = (0.05, 20.0)
_LEAST_PROBABILITY = 1e-12  # under the logarithm


@dataclass(frozen=True)
class Scored:
    """What a classifier said of some recordings, n of them, before it was made a score.

    Args:
      logits: [windows, classes].
      positions: which recording each window is of, int [windows]; every recording has one at least.
      targets: the classes, int [n]; of a tagger 0 or 1, [n, classes].
    """

    logits: npt.NDArray[np.floating[Any]]
    positions: npt.NDArray[np.integer[Any]]
    targets: npt.NDArray[Any]

    def scores(self, temperature: float = 1.0) -> Array:
        """Returns float64 [n, classes]: the mean over the windows of each recording, as the device takes it."""
        logits = self.logits.astype(np.float64) / temperature
        one_class = self.targets.ndim == 1
        of_windows = scipy.special.softmax(logits, axis=1) if one_class else scipy.special.expit(logits)
        total = np.zeros((len(self.targets), of_windows.shape[1]))
        np.add.at(total, self.positions, of_windows)
        return total / np.bincount(self.positions, minlength=len(self.targets))[:, None]


def fit_temperature(scored: Scored) -> float:
    """Finds the temperature under which the recordings are likeliest.

    Args:
      scored: of recordings that were neither trained nor tested on.

    Raises:
      TfaudioError: if the recordings tell none, as where all of them are right: the surer, the likelier then.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(scored.scores(math.exp(log_temperature)), scored.targets)

    ends = [math.log(end) for end in _TEMPERATURES]
    found = scipy.optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-5})
    if min(map(loss, ends)) < found.fun + 1e-6:
        if scored.targets.ndim == 1:
            right = int((scored.scores().argmax(axis=1) == scored.targets).sum())
            what = f"{right} of the {len(scored.targets)} validation recordings are right"
        else:
            right = int(((scored.scores() >= 0.5) == (scored.targets > 0)).sum())
            what = f"{right} of the {scored.targets.size} tags of the validation recordings are right"
        raise TfaudioError(
            f"{what}, which tells no temperature between {_TEMPERATURES[0]:g} and {_TEMPERATURES[1]:g}; train with a "
            "larger --validation_fraction."
        )
    return math.exp(found.x)


def negative_log_likelihood(scores: Array, targets: npt.NDArray[Any]) -> float:
    """Mean over the clips of -ln(score of the true class); of tags also over the classes, present or not."""
    if targets.ndim == 1:
        of_truth = scores[np.arange(len(targets)), targets]
    else:
        of_truth = np.where(targets > 0, scores, 1.0 - scores)
    return float(-np.log(np.maximum(of_truth, _LEAST_PROBABILITY)).mean())


def brier_score(scores: Array, targets: npt.NDArray[Any]) -> float:
    """Mean over the clips of the squared distance between the scores and the truth, 0 to 2; of tags, to the classes."""
    truth = np.eye(scores.shape[1])[targets] if targets.ndim == 1 else targets
    return float(np.mean(np.sum((scores - truth) ** 2, axis=1)))


@dataclass(frozen=True)
class Bin:
    """Clips whose highest scores are alike.

    Args:
      count: of clips, at least 1.
      confidence: mean of their highest scores.
      accuracy: share of them that is right.
    """

    count: int
    confidence: float
    accuracy: float


def reliability_bins(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, *, equal_mass: bool, num_bins: int = NUM_BINS
) -> list[Bin]:
    """Sorts clips into bins by their highest score.

    Args:
      confidences: float [n], in [0, 1].
      correct: bool [n].
      equal_mass: make bins that hold equally many clips (or one more); otherwise bins of equal width from 0 to 1.
      num_bins: at most; empty bins are left out.
    """
    confidences, correct = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if equal_mass:
        # Equal scores may fall into two bins; each then has its share of the right among them.
        _, tie = np.unique(confidences, return_inverse=True)
        correct = (np.bincount(tie, correct) / np.bincount(tie))[tie] if len(tie) else correct
        parts = np.array_split(np.argsort(confidences, kind="stable"), min(num_bins, len(confidences)))
    else:
        numbers = np.minimum((confidences * num_bins).astype(int), num_bins - 1)
        parts = [np.flatnonzero(numbers == number) for number in range(num_bins)]
    return [Bin(len(part), float(confidences[part].mean()), float(correct[part].mean())) for part in parts if len(part)]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Mean over the clips of the distance between their bin's confidence and accuracy."""
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / sum(b.count for b in bins)


def class_thresholds(scores: Array, targets: npt.NDArray[Any], labels: LabelMap) -> dict[str, float]:
    """Finds for each class the score from which on it is best called present, by F1 of that class against the rest.

    A threshold lies half-way between the two scores that it parts, and where a clip has one class not below 1 /
    classes: what is heard as less likely than any other class on the average is not present. Classes without a clip,
    and those that no such threshold tells from the rest, have none.

    Returns:
      scores in (0, 1) by label, for `tfaudio export --threshold`.
    """
    found = {}
    for index, label in enumerate(labels):
        positive, own = targets == index if targets.ndim == 1 else targets[:, index] > 0, scores[:, index]
        values = np.unique(own)
        least = 1 / len(labels) if targets.ndim == 1 else 0.0
        cuts = np.maximum((values[:-1] + values[1:]) / 2, least)[values[1:] > least]
        if targets.ndim == 2:  # a tag may be everywhere
            cuts = np.append(values[0] / 2, cuts)
        if not positive.any() or not len(cuts):
            continue
        below = np.searchsorted(np.sort(own), cuts)  # clips that a threshold leaves out
        hits_below = np.searchsorted(np.sort(own[positive]), cuts)
        f1 = 2 * (positive.sum() - hits_below) / (len(own) - below + positive.sum())
        if f1.max() > 0:
            found[label] = _short(float(cuts[f1.argmax()]), own)
    return found


def _short(cut: float, scores: Array) -> float:
    """A threshold in six digits, if they part the scores as all of them do."""
    short = float(f"{cut:.6g}")
    return short if 0 < short < 1 and np.array_equal(scores >= short, scores >= cut) else cut


def unknown_threshold(scores: Array, targets: npt.NDArray[np.integer[Any]], *, keep: float = 0.95) -> float:
    """Finds the highest score below which an answer may be called unknown, and `keep` of the right answers still stay.

    Raises:
      TfaudioError: if no answer is right.
    """
    confidences = np.sort(scores.max(axis=1)[scores.argmax(axis=1) == targets])
    if not len(confidences):
        raise TfaudioError("No validation recording is recognised, so no threshold can be found; train longer.")
    given_up = min(math.floor((1.0 - keep) * len(confidences) + 1e-9), len(confidences) - 1)
    return math.floor(float(confidences[given_up]) * 1e6) / 1e6


def unknown_figures(known: npt.ArrayLike, unknown: npt.ArrayLike, unknown_below: npt.ArrayLike) -> dict[str, float]:
    """Tells how well the highest score parts recordings of the classes from those of none.

    Args:
      known: highest score of each recording of a class, float [n].
      unknown: of each recording of none, float [m].
      unknown_below: the score below which an answer is unknown, a number or [m].

    Returns:
      auroc: share of the pairs of one of each where the known one scores higher, ties counting half;
      false_accepts: share of the unknown at or above the cut that 95 % of the known are at or above;
      refused: share of the unknown below unknown_below.

    Source: D. Hendrycks and K. Gimpel, A Baseline for Detecting Misclassified and Out-of-Distribution Examples (2017),
    https://arxiv.org/abs/1610.02136.

    >>> unknown_figures([0.9, 0.8], [0.5, 0.85], 0.6)["auroc"]
    0.75
    """
    known, unknown = np.sort(np.asarray(known, np.float64)), np.asarray(unknown, np.float64)
    below = np.searchsorted(known, unknown, "left"), np.searchsorted(known, unknown, "right")
    cut = known[math.floor(0.05 * len(known) + 1e-9)]
    return {
        "auroc": float(1.0 - (below[0] + below[1]).mean() / (2 * len(known))),
        "false_accepts": float((unknown >= cut).mean()),
        "refused": float((unknown < np.asarray(unknown_below)).mean()),
    }


def figures(scores: Array, targets: npt.NDArray[np.integer[Any]], unknown_below: npt.ArrayLike) -> dict[str, Any]:
    """Returns what the scores are worth, as plain values.

    Args:
      scores: [n, classes].
      targets: int [n].
      unknown_below: the score below which a clip's answer is unknown, a number or [n].

    Returns:
      the rows of `calibration_table`; "bins" of equally many clips, for the picture.
    """
    confidences, correct = scores.max(axis=1), scores.argmax(axis=1) == targets
    answered = confidences >= np.asarray(unknown_below)
    by_width = reliability_bins(confidences, correct, equal_mass=False)
    by_mass = reliability_bins(confidences, correct, equal_mass=True)
    return {
        "accuracy": float(correct.mean()),
        "confidence": float(confidences.mean()),
        "ece_equal_width": expected_calibration_error(by_width),
        "ece_equal_mass": expected_calibration_error(by_mass),
        "negative_log_likelihood": negative_log_likelihood(scores, targets),
        "brier": brier_score(scores, targets),
        "answered": float(answered.mean()),
        "accuracy_of_answered": float(correct[answered].mean()) if answered.any() else None,
        "bins": [asdict(b) for b in by_mass],
    }


def tag_figures(scores: Array, targets: npt.NDArray[Any], thresholds: npt.ArrayLike) -> dict[str, Any]:
    """Returns what a tagger's scores are worth, as plain values.

    Args:
      scores: [n, classes].
      targets: 0 or 1, [n, classes].
      thresholds: from which on a class is given, [classes] or [n, classes].

    Returns:
      the rows of `calibration_table`, errors being of the scores of all classes; "bins" of equally many of them.
    """
    given, true = scores >= np.asarray(thresholds), targets > 0
    by_width = reliability_bins(scores.ravel(), true.ravel(), equal_mass=False)
    by_mass = reliability_bins(scores.ravel(), true.ravel(), equal_mass=True)
    hits, total = (given & true).sum(axis=0), given.sum(axis=0) + true.sum(axis=0)
    present = true.any(axis=0)
    return {
        "mean_average_precision": mean_average_precision(true, scores),
        "macro_f1": float(np.mean(2 * hits[present] / total[present])),
        "micro_f1": float(2 * hits.sum() / total.sum()),
        "ece_equal_width": expected_calibration_error(by_width),
        "ece_equal_mass": expected_calibration_error(by_mass),
        "negative_log_likelihood": negative_log_likelihood(scores, targets),
        "brier": brier_score(scores, targets),
        "bins": [asdict(b) for b in by_mass],
    }


@dataclass(frozen=True)
class RunCalibration:
    """A run's calibration, and its test recordings to judge it by.

    Args:
      temperature: that divides the logits.
      thresholds: of the calibrated scores, by label.
      unknown_before: score below which an answer is unknown, of the scores as trained; None of a tagger, which gives
        no label then.
      unknown_below: the same of the calibrated scores.
      validation_clips: that told all of it.
      test: what the classifier said of the test recordings.
      unknown: what it said of recordings of none of its classes, if there are some.
    """

    temperature: float
    thresholds: Mapping[str, float]
    unknown_before: float | None
    unknown_below: float | None
    validation_clips: int
    test: Scored
    unknown: Scored | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns what the run folder keeps, and `load_bundle` reads."""
        return {
            "temperature": self.temperature,
            "thresholds": dict(self.thresholds),
            "unknown_below": self.unknown_below,
            "validation_clips": self.validation_clips,
        }


def calibrate_run(
    bundle: Bundle, *, keep: float = 0.95, unknown: Sequence[str] = (), progress: bool = True
) -> RunCalibration:
    """Fits temperature and thresholds to a run's validation recordings.

    These come out of the training part, and no weight was fitted to them; at most the epoch was chosen by them.

    Args:
      bundle: the run, loaded without an earlier calibration.
      keep: share of right answers that the threshold for unknown sounds must leave.
      unknown: files with recordings of none of the classes, to judge the threshold by; nothing is fitted to them.
      progress: show bars.

    Raises:
      TfaudioError: if the run held no validation or no test recordings out, or its data cannot be read or have changed.
    """
    bundle.check_can_be_tested()  # a calibration is told with what it does to test recordings
    if not read_split(bundle.path)["validation"]:
        raise TfaudioError(
            f"{bundle.path} held no validation recordings out, and fitted to test recordings the scores would flatter "
            "themselves; train with --validation_fraction=0.1."
        )
    if unknown and bundle.config.multi_label:
        raise TfaudioError(f"{bundle.path} may give no class at all, so it needs no threshold for unknown sounds.")
    validation = _scored(bundle, "validation", progress)
    temperature = fit_temperature(validation)
    before, after = validation.scores(), validation.scores(temperature)

    def cut_of(scores: Array) -> float | None:
        return None if bundle.config.multi_label else unknown_threshold(scores, validation.targets, keep=keep)

    return RunCalibration(
        temperature=temperature,
        thresholds=class_thresholds(after, validation.targets, bundle.labels),
        unknown_before=cut_of(before),
        unknown_below=cut_of(after),
        validation_clips=len(validation.targets),
        test=_scored(bundle, "test", progress),
        unknown=_scored_of_none(bundle, unknown, progress) if unknown else None,
    )


def _scored(bundle: Bundle, part: Any, progress: bool) -> Scored:
    data, indices = read_part(bundle, part, progress=progress)
    if not len(indices):
        raise TfaudioError(f"None of the {part} recordings can be used; mend them, or change the split.")
    logits, positions = window_logits(bundle, data.recordings, indices)
    return Scored(logits, positions, data.targets(bundle.labels, multi_hot=bundle.config.multi_label)[indices])


def _scored_of_none(bundle: Bundle, files: Sequence[str], progress: bool) -> Scored:
    config = bundle.config
    clips = [Clip(path, "unknown") for path in files]
    rate = config.front_end.sample_rate
    recordings = read_recordings(clips, sample_rate=rate, config=config.data, progress=progress)
    for skipped in recordings.skipped:
        print(f"not scored: {skipped.path}: {skipped.reason}", file=sys.stderr)
    indices = np.arange(len(recordings.clips))
    if not len(indices):
        raise TfaudioError("None of the unknown recordings can be used; name others.")
    logits, positions = window_logits(bundle, recordings, indices)
    return Scored(logits, positions, np.zeros(len(indices), np.int64))


def calibration_record(
    runs: Mapping[str, RunCalibration], labels: LabelMap, *, tested: Sequence[str] = ()
) -> dict[str, Any]:
    """Brings the runs of a cross-validation together: each test recording under the calibration of its own run.

    Args:
      runs: by the name of the run folder.
      labels: of all of them.
      tested: the fold of each run, in their order; of several runs of one, recordings count once. Empty: all differ.

    Returns:
      runs: what each keeps; before and after: `figures` over all test recordings, before and after calibration, of
        taggers `tag_figures`, whose mean average precision is the mean over the runs;
      unknown: `unknown_figures` and the number of clips, calibrated, or None where no unknown recordings were given.
    """
    before = np.concatenate([run.test.scores() for run in runs.values()])
    after = np.concatenate([run.test.scores(run.temperature) for run in runs.values()])
    targets = np.concatenate([run.test.targets for run in runs.values()])
    sizes = [len(run.test.targets) for run in runs.values()]
    record = {
        "num_bins": NUM_BINS,
        "num_clips": sum(dict(zip(tested or runs, sizes, strict=True)).values()),
        "runs": {name: run.to_dict() for name, run in runs.items()},
    }
    if targets.ndim == 2:
        cuts = [list(tag_thresholds(labels, run.thresholds).values()) for run in runs.values()]
        found = np.repeat(cuts, sizes, axis=0)
        default = list(tag_thresholds(labels, {}).values())
        ends = np.cumsum(sizes)[:-1]

        def by_run(scores: Array) -> dict[str, float]:
            """Scores of two models have no order in common."""
            parts = zip(np.split(targets > 0, ends), np.split(scores, ends), strict=True)
            return {"mean_average_precision": float(np.mean([mean_average_precision(*part) for part in parts]))}

        return record | {
            "before": tag_figures(before, targets, default) | by_run(before),
            "after": tag_figures(after, targets, found) | by_run(after),
        }
    unknown_before = np.repeat([run.unknown_before for run in runs.values()], sizes)
    unknown_after = np.repeat([run.unknown_below for run in runs.values()], sizes)
    strange = [(run.unknown.scores(run.temperature), run.unknown_below) for run in runs.values() if run.unknown]
    unknown = None
    if strange:
        highest = np.concatenate([scores.max(axis=1) for scores, _ in strange])
        cuts = np.concatenate([np.full(len(scores), cut) for scores, cut in strange])
        unknown = {"num_clips": len(strange[0][0]), **unknown_figures(after.max(axis=1), highest, cuts)}
    return record | {
        "before": figures(before, targets, unknown_before),
        "after": figures(after, targets, unknown_after),
        "unknown": unknown,
    }


_ROWS = {
    "mean_average_precision": ("mean average precision", ".1%"),
    "macro_f1": ("macro F1 at the thresholds", ".1%"),
    "micro_f1": ("micro F1 at the thresholds", ".1%"),
    "accuracy": ("accuracy", ".1%"),
    "confidence": ("mean highest score", ".1%"),
    "ece_equal_width": ("calibration error, bins of equal width", ".2%"),
    "ece_equal_mass": ("calibration error, bins of equal mass", ".2%"),
    "negative_log_likelihood": ("negative log-likelihood", ".4f"),
    "brier": ("Brier score", ".4f"),
    "answered": ("answered, not unknown", ".1%"),
    "accuracy_of_answered": ("accuracy of the answered", ".1%"),
}


def calibration_table(record: Mapping[str, Any], *, title: str = "") -> str:
    """Lays out what calibration changed on the test recordings, and each run's temperature."""
    lines = [title, ""] if title else []
    tags = "mean_average_precision" in record["after"]
    for name, run in record["runs"].items():
        unknown = "" if tags else f", unknown below {run['unknown_below']:.3f}"
        lines.append(
            f"{name}: temperature {run['temperature']:.3f}{unknown}; told by {run['validation_clips']} validation "
            "recordings"
        )
    width = max(len(text) for text, _ in _ROWS.values())
    head = f"{record['num_clips']} test recordings"
    lines += ["", f"{head:<{width}}  {'before':>8}  {'after':>8}"]
    for key, (text, form) in _ROWS.items():
        if key not in record["after"]:
            continue
        cells = ["-" if record[when][key] is None else format(record[when][key], form) for when in ("before", "after")]
        lines.append(f"{text:<{width}}  {cells[0]:>8}  {cells[1]:>8}")
    if record.get("unknown"):
        found = record["unknown"]
        lines += ["", f"{found['num_clips']} recordings of no class, by the highest score:"]
        lines.append(f"told apart (AUROC) {found['auroc']:.3f}; below the threshold for unknown {found['refused']:.1%}")
        lines.append(f"taken for a class where 95 % of the test recordings are: {found['false_accepts']:.1%}")
    of = "all scores" if tags else "the highest score"
    lines += ["", f"Calibration errors are of {of}, in {record['num_bins']} bins."]
    return "\n".join(lines) + "\n"


def reliability_png(record: Mapping[str, Any], *, title: str = "") -> bytes:
    """Draws accuracy over confidence, before and after: on the diagonal, scores are as sure as they are right.

    Returns:
      The content of a PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.9), dpi=120, layout="constrained")
    for axes, when in zip(figure.subplots(1, 2, sharey=True), ("before", "after"), strict=True):
        bins = record[when]["bins"]
        axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
        confidence, accuracy = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
        axes.vlines(confidence, confidence, accuracy, color="C3", alpha=0.5)
        axes.plot(confidence, accuracy, marker="o", linestyle="none")
        axes.set_title(f"{when}: error {record[when]['ece_equal_mass']:.1%}", fontsize=10)
        axes.set_xlabel(f"mean {'' if 'mean_average_precision' in record[when] else 'highest '}score of the bin")
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share that is right")
    if title:
        figure.suptitle(title, fontsize=11, parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
