"""Emotional speech: RAVDESS, Emo-DB and CREMA-D, whose files say speaker and emotion in their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tfaudio.data.readers.walk import files_below, find_mark, visible
from tfaudio.data.spec import Clip, DatasetSpec, Skipped, usable_spec, why_not_audio

_RAVDESS_EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust",
    "08": "surprised",
}  # fmt: skip
_RAVDESS_TEXTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
# The letters are of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer.
_EMODB_EMOTIONS = {
    "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
}  # fmt: skip
_CREMA_D_EMOTIONS = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness",
}  # fmt: skip


def read_ravdess(root: Path) -> DatasetSpec:
    """Reads the speech of RAVDESS: files such as `Actor_12/03-01-06-01-02-01-12.wav`, at any depth.

    The third number is the emotion, the last the actor, who is the group. Songs (the second number is 02) are another
    task and no part of this set. Some copies hold the folders of the actors twice; a name that comes again is skipped.

    Raises:
      TfaudioError: if there are no such recordings.

    Source: S. R. Livingstone, F. A. Russo, PLoS ONE 13(5), 2018.
    """
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    seen: set[str] = set()
    for path in files_below(root, skipped):
        if reason := why_not_audio(path):
            skipped.append(Skipped(str(path), reason))
            continue
        match = re.fullmatch(r"\d\d-(\d\d)-(\d\d)-\d\d-(\d\d)-\d\d-(\d\d)", path.stem)
        if not match:
            skipped.append(Skipped(str(path), "its name is not seven numbers of two digits with dashes between"))
        elif match[1] == "02":
            continue
        elif path.stem in seen:
            skipped.append(Skipped(str(path), "a recording of this name was found in another folder"))
        else:
            seen.add(path.stem)
            _add(clips, skipped, path, _RAVDESS_EMOTIONS, match[2], match[4], _RAVDESS_TEXTS.get(match[3]))
    return usable_spec("ravdess", clips, skipped, root)


def read_emodb(root: Path) -> DatasetSpec:
    """Reads the Berlin Database of Emotional Speech: `wav/03a01Fa.wav` is speaker 03, text a01, emotion F, version a.

    Raises:
      TfaudioError: if there are no such recordings.

    Source: F. Burkhardt et al., "A Database of German Emotional Speech", Interspeech 2005.
    """
    pattern = re.compile(r"(?P<speaker>\d\d)[a-z]\d\d(?P<emotion>[A-Z])[a-z]?")
    return _read_flat("emodb", root, "wav", pattern, "03a01Fa.wav", _EMODB_EMOTIONS)


def read_crema_d(root: Path) -> DatasetSpec:
    """Reads CREMA-D: `AudioWAV/1001_DFA_ANG_XX.wav` is actor 1001, sentence DFA, emotion ANG, intensity XX.

    Raises:
      TfaudioError: if there are no such recordings.

    Source: H. Cao et al., "CREMA-D: Crowd-Sourced Emotional Multimodal Actors Dataset", 2014.
    """
    # One file of the original set has the intensity X.
    pattern = re.compile(r"(?P<speaker>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}")
    return _read_flat("crema_d", root, "AudioWAV", pattern, "1001_DFA_ANG_XX.wav", _CREMA_D_EMOTIONS)


def _read_flat(
    name: str, root: Path, folder_name: str, pattern: re.Pattern[str], example: str, emotions: Mapping[str, str]
) -> DatasetSpec:
    """Reads the files of one folder, which is `folder_name` in the root, or the root itself."""
    skipped: list[Skipped] = []
    folder = root if _any_matches(visible(root, []), pattern) else find_mark(root, [folder_name])
    clips: list[Clip] = []
    for path in visible(folder, skipped):
        if reason := why_not_audio(path):
            skipped.append(Skipped(str(path), reason))
        elif match := pattern.fullmatch(path.stem):
            _add(clips, skipped, path, emotions, match["emotion"], match["speaker"])
        else:
            skipped.append(Skipped(str(path), f"its name is not like {example}"))
    return usable_spec(name, clips, skipped, folder)


def _any_matches(paths: Iterable[Path], pattern: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(path.stem) for path in paths)


def _add(
    clips: list[Clip],
    skipped: list[Skipped],
    path: Path,
    emotions: Mapping[str, str],
    code: str,
    speaker: str,
    text: str | None = None,
) -> None:
    if code in emotions:
        clips.append(Clip(str(path), emotions[code], group=speaker, text=text))
    else:
        skipped.append(Skipped(str(path), f"no emotion has the code {code}, which its name gives"))
