"""What is wrong with a data set: leaks between its parts, repeated and mislabelled sounds, and spoilt recordings.

Every clip is decoded once, by libsndfile alone and without TensorFlow.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tfaudio.data import similarity
from tfaudio.data.measure import SILENCE_DB, Measures, measure, read_clip
from tfaudio.data.spec import NOT_AUDIO, Clip, DatasetSpec
from tfaudio.data.split import split_dataset
from tfaudio.errors import TfaudioError
from tfaudio.sound_file import DecodeError

MOST_CLIPPED = 1e-3  # share of the samples
RAREST_CLASS = 0.1  # of the clips of the largest
LENGTH_FACTOR = 10.0  # above or below the median
_WAVEFORMS_KEPT = 256

KINDS = (
    "exact_duplicate", "near_duplicate", "label_conflict", "shared_group", "missing_class", "rare_class", "unreadable",
    "silent", "clipped", "odd_length", "other_rate",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One fault.

    Args:
      kind: of `KINDS`.
      detail: what is wrong, for people.
      leak: whether it lets a result on one part of the data profit from another.
      first: the clip at fault; None where it is a class or a group.
      second: the clip that it goes with.
      value: the measure that decided.
    """

    kind: str
    detail: str
    leak: bool = False
    first: Clip | None = None
    second: Clip | None = None
    value: float | None = None


@dataclass(frozen=True)
class Audit:
    """A data set and what was found.

    Args:
      spec: the data set.
      rule: how its parts were found, for people.
      parts: name of the part of each clip of the spec.
      measures: of each clip of the spec that can be read.
      matches: how far the waveforms of each candidate pair match.
      findings: by kind, leaks first.
    """

    spec: DatasetSpec
    rule: str
    parts: dict[Clip, str]
    measures: dict[Clip, Measures]
    matches: tuple[float, ...]
    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings that flatter a result."""
        return tuple(finding for finding in self.findings if finding.leak)

    @property
    def part_names(self) -> tuple[str, ...]:
        """Training data first, folds in ascending order."""
        order = {"train": 0, "validation": 1, "test": 2}
        names = {part: (order.get(part, 3), len(part), part) for part in self.parts.values()}
        return tuple(sorted(names, key=names.__getitem__))


def audit_dataset(spec: DatasetSpec, *, progress: bool = True) -> Audit:
    """Listens to a data set.

    Args:
      spec: the data set.
      progress: show bars on a terminal.

    Raises:
      TfaudioError: if none of its recordings can be read.
    """
    parts, rule = _parts_of(spec)
    heard = _listen(spec.clips, progress)
    measures = {clip: found[0] for clip, found in heard.items() if isinstance(found, tuple)}
    if not measures:
        example = next((found for found in heard.values() if isinstance(found, str)), "there are none")
        raise TfaudioError(f"None of the {len(spec.clips)} recordings can be read (first: {example})")
    pairs = list(_exact_pairs(measures))
    near, matches = _near_pairs({clip: found for clip, found in heard.items() if isinstance(found, tuple)}, progress)
    findings = [
        *_duplicates(spec, parts, "exact_duplicate", pairs),
        *_duplicates(spec, parts, "near_duplicate", near),
        *_conflicts(parts, [*pairs, *near]),
        *_shared_groups(spec, parts),
        *_classes(spec, parts),
        *(Finding("unreadable", found, first=clip) for clip, found in heard.items() if isinstance(found, str)),
        *(Finding("unreadable", f"{s.path}: {s.reason}") for s in spec.skipped if s.reason != NOT_AUDIO),
        *_spoilt(measures),
    ]
    findings.sort(key=lambda finding: (KINDS.index(finding.kind), not finding.leak))
    return Audit(spec, rule, parts, measures, tuple(matches), tuple(findings))


def _parts_of(spec: DatasetSpec) -> tuple[dict[Clip, str], str]:
    """The part that each clip belongs to: official split and fold, or else the split by hash."""
    if spec.has_official_split or spec.folds:

        def name(clip: Clip) -> str:
            names = ([clip.split or "train"] if spec.has_official_split else []) + (
                [f"fold {clip.fold}"] if spec.folds else []
            )
            return ", ".join(names)

        kinds = ["official split"] * spec.has_official_split + ["official folds"] * bool(spec.folds)
        return {clip: name(clip) for clip in spec.clips}, " and ".join(kinds)
    try:
        split = split_dataset(spec)
    except TfaudioError:
        return dict.fromkeys(spec.clips, "all"), "no split: no class has two groups"
    return {clip: name for name in ("train", "test") for clip in getattr(split, name)}, split.rule


_Heard = tuple[Measures, npt.NDArray[np.float32]]


def _hear(clip: Clip) -> _Heard | str:
    """Measures and fingerprint, or what is wrong."""
    try:
        waveform, rate = read_clip(clip)
    except DecodeError as error:
        return str(error)
    except OSError as error:
        return f"{clip.path} cannot be read ({error.strerror}); check the disk."
    return measure(waveform, rate), similarity.spectral_fingerprint(similarity.at_common_rate(waveform, rate))


def _listen(clips: Sequence[Clip], progress: bool) -> dict[Clip, _Heard | str]:
    # libsndfile, the transforms and the hash let other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(
            pool.map(_hear, clips), total=len(clips), desc="listening", unit="clip", leave=False,
            disable=None if progress else True,
        )  # fmt: skip
        return dict(zip(clips, bar, strict=True))


_Pair = tuple[Clip, Clip, float]


def _exact_pairs(measures: dict[Clip, Measures]) -> Iterator[_Pair]:
    """Each clip whose samples came before, with the first that had them; silence is like any other."""
    same = defaultdict(list)
    for clip, found in measures.items():
        if found.peak_db >= SILENCE_DB:
            same[found.digest].append(clip)
    for clips in same.values():
        for clip in clips[1:]:
            yield clips[0], clip, 1.0


def _near_pairs(heard: dict[Clip, _Heard], progress: bool) -> tuple[list[_Pair], list[float]]:
    """The pairs that match without being equal, and how far each of the candidates matched."""
    clips: list[Clip] = []
    seen: set[str] = set()
    for clip, (found, _) in heard.items():
        # Of equal clips one stands for all.
        if found.digest not in seen and found.peak_db >= SILENCE_DB:
            seen.add(found.digest)
            clips.append(clip)
    if len(clips) < 2:
        return [], []
    fingerprints = np.stack([heard[clip][1] for clip in clips])
    candidates = similarity.candidate_pairs(fingerprints, progress=progress)

    @lru_cache(_WAVEFORMS_KEPT)
    def waveform(index: int) -> npt.NDArray[np.float32]:
        return similarity.at_common_rate(*read_clip(clips[index]))

    def match(pair: npt.NDArray[np.int64]) -> float:
        return similarity.waveform_match(waveform(int(pair[0])), waveform(int(pair[1])))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(
            pool.map(match, candidates), total=len(candidates), desc="matching", unit="pair", leave=False,
            disable=None if progress else True,
        )  # fmt: skip
        matches = list(bar)
    near = [
        (clips[first], clips[second], match)
        for (first, second), match in zip(candidates.tolist(), matches, strict=True)
        if match >= similarity.LEAST_MATCH
    ]
    return near, matches


def _duplicates(spec: DatasetSpec, parts: dict[Clip, str], kind: str, pairs: Sequence[_Pair]) -> Iterator[Finding]:
    words = "has the same samples as" if kind == "exact_duplicate" else "sounds the same as"
    for first, second, value in pairs:
        leak = parts[first] != parts[second]
        # What a group keeps together does no harm, as the overlapping cuts of one recording.
        if kind == "near_duplicate" and not leak and spec.group_of(first) == spec.group_of(second):
            continue
        where = f"{parts[first]} and {parts[second]}" if leak else f"both in {parts[first]}"
        detail = f"{spec.relative_path(first)} {words} {spec.relative_path(second)} ({where})"
        yield Finding(kind, detail, leak, first, second, round(value, 4))


def _conflicts(parts: dict[Clip, str], pairs: Sequence[_Pair]) -> Iterator[Finding]:
    for first, second, value in pairs:
        if set(first.labels) != set(second.labels):
            detail = f"one sound is called '{first.label_text}' and '{second.label_text}'"
            yield Finding("label_conflict", detail, parts[first] != parts[second], first, second, round(value, 4))


def _shared_groups(spec: DatasetSpec, parts: dict[Clip, str]) -> Iterator[Finding]:
    spread: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in spec.clips:
        if clip.group is not None:
            spread[clip.group][parts[clip]] += 1
    for group in sorted(spread):
        counts = spread[group]
        if len(counts) > 1:
            places = ", ".join(f"{counts[part]} in {part}" for part in sorted(counts))
            yield Finding("shared_group", f"group '{group}' is torn apart: {places}", True, value=float(len(counts)))


def _classes(spec: DatasetSpec, parts: dict[Clip, str]) -> Iterator[Finding]:
    counts = spec.class_counts()
    largest = max(counts.values())
    for label, count in counts.items():
        if count < RAREST_CLASS * largest:
            yield Finding("rare_class", f"class '{label}' has {count} clips, the largest {largest}", value=float(count))
    present = {(label, parts[clip]) for clip in spec.clips for label in clip.labels}
    for part in sorted(set(parts.values())):
        for label in counts:
            if (label, part) not in present:
                yield Finding("missing_class", f"class '{label}' has no clip in {part}")


def _spoilt(measures: dict[Clip, Measures]) -> Iterator[Finding]:
    median = float(np.median([found.seconds for found in measures.values()]))
    rates = Counter(found.sample_rate for found in measures.values())
    usual = max(rates, key=lambda rate: (rates[rate], rate))
    for clip, found in measures.items():
        if found.peak_db < SILENCE_DB:
            detail = f"nothing is louder than {found.peak_db:.0f} dB of full scale"
            yield Finding("silent", detail, first=clip, value=round(found.peak_db, 1))
        if found.clipped > MOST_CLIPPED:
            detail = f"{found.clipped:.1%} of the samples are at full scale"
            yield Finding("clipped", detail, first=clip, value=round(found.clipped, 6))
        if not median / LENGTH_FACTOR <= found.seconds <= median * LENGTH_FACTOR:
            detail = f"lasts {found.seconds:.3g} s where the median is {median:.3g} s"
            yield Finding("odd_length", detail, first=clip, value=round(found.seconds, 4))
    for rate in sorted(set(rates) - {usual}):
        example = next(clip for clip, found in measures.items() if found.sample_rate == rate)
        count = "1 clip has" if rates[rate] == 1 else f"{rates[rate]} clips have"
        detail = f"{count} {rate} Hz where most have {usual} Hz"
        yield Finding("other_rate", detail, first=example, value=float(rates[rate]))
