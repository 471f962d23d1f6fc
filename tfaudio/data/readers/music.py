"""Genres of music: GTZAN, and the small set of the Free Music Archive."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from pathlib import Path

from tfaudio.data.readers.walk import as_stored, find_mark, visible
from tfaudio.data.spec import NOT_AUDIO, Clip, DatasetSpec, Skipped, usable_spec, why_not_audio
from tfaudio.errors import TfaudioError

GTZAN_GENRES = (
    "blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock",
)  # fmt: skip
_GTZAN_LISTS = {"train": "train_filtered.txt", "validation": "valid_filtered.txt", "test": "test_filtered.txt"}
_FMA_SPLITS = {"training": "train", "validation": "validation", "test": "test"}
_LONGEST_CELL = 2**24  # of tracks.csv, where biographies stand; csv's own limit is 2^17


def read_gtzan(root: Path) -> DatasetSpec:
    """Reads GTZAN: ten folders of genres with files such as `blues/blues.00000.wav`.

    The set holds repeated and wrongly labelled tracks. The published split without them is taken if its three lists,
    train_filtered.txt, valid_filtered.txt and test_filtered.txt, lie in the folder or beside the genres; what they do
    not name is then no part of the set. Without them all tracks are, and there is no official split.

    Raises:
      TfaudioError: if there are no folders of genres, or only some of the lists, or a line has another form.

    Source: G. Tzanetakis, P. Cook, 2002; faults: B. L. Sturm, 2013; lists: C. Kereliuk, B. L. Sturm, J. Larsen, 2015.
    """
    genres = find_mark(root, [f"{folder}{GTZAN_GENRES[0]}" for folder in ("genres_original/", "genres/", "")]).parent
    skipped: list[Skipped] = []
    lists = _gtzan_lists(root, genres)
    if lists:
        clips = [
            Clip(str(as_stored(genres / track)), track.split("/")[0], split=part, group=Path(track).stem)
            for part, tracks in lists.items()
            for track in tracks
        ]
        return usable_spec("gtzan", clips, skipped, root)
    clips = []
    for genre in GTZAN_GENRES:
        for path in visible(genres / genre, skipped):
            if re.fullmatch(rf"{genre}\.\d{{5}}", path.stem) and not why_not_audio(path):
                clips.append(Clip(str(path), genre, group=path.stem))
            else:
                skipped.append(Skipped(str(path), NOT_AUDIO if why_not_audio(path) else "its name is not GENRE.NUMBER"))
    return usable_spec("gtzan", clips, skipped, root)


def _gtzan_lists(root: Path, genres: Path) -> dict[str, list[str]]:
    """The tracks of each part of the fault-filtered split, as `genre/name.wav`; nothing where there are no lists."""
    for place in dict.fromkeys((root, genres)):
        found = {part: place / name for part, name in _GTZAN_LISTS.items() if (place / name).is_file()}
        if not found:
            continue
        if missing := [name for part, name in _GTZAN_LISTS.items() if part not in found]:
            raise TfaudioError(
                f"{place} holds some lists of the fault-filtered split but not {missing[0]}; put all three there, or "
                "none."
            )
        return {part: list(_gtzan_tracks(path)) for part, path in found.items()}
    return {}


def _gtzan_tracks(path: Path) -> Iterator[str]:
    for line, text in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        match = re.fullmatch(r"(\w+)/\1\.\d{5}\.\w+", text.strip())
        if match and match[1] in GTZAN_GENRES:
            yield text.strip()
        elif text.strip():
            raise TfaudioError(f"{path}, line {line}: expected a track like blues/blues.00029.wav, not '{text[:60]}'.")


def read_fma_small(root: Path) -> DatasetSpec:
    """Reads FMA small: `fma_small/000/000002.mp3` and `fma_metadata/tracks.csv`.

    The split is the official one, in which no artist is on two sides; the group is the artist.

    Args:
      root: the folder that holds both, or `fma_small` with `fma_metadata` beside it.

    Raises:
      TfaudioError: if the table is missing or has another form, or no recording is there.

    Source: M. Defferrard et al., "FMA: A Dataset For Music Analysis", ISMIR 2017.
    """
    # root / "../x" would ask the system where a link leads.
    table = root.parent / "fma_metadata" / "tracks.csv"
    if (root / "fma_small").is_dir() or not table.is_file():
        table = find_mark(root, ["fma_metadata/tracks.csv", "tracks.csv"])
    audio = root / "fma_small" if (root / "fma_small").is_dir() else root
    clips: list[Clip] = []
    for line, row in _fma_rows(table):
        if row["set.subset"] != "small":
            continue
        part = _FMA_SPLITS.get(row["set.split"])
        if part is None or not row["track_id"].isdecimal() or not row["track.genre_top"]:
            raise TfaudioError(
                f"{table}, line {line}: a track of the small set needs a number, a split and a top genre; get the "
                "table again."
            )
        number = f"{int(row['track_id']):06d}"
        path = as_stored(audio / number[:3] / f"{number}.mp3")
        clips.append(Clip(str(path), row["track.genre_top"], split=part, group=row["artist.id"] or None))
    return usable_spec("fma_small", clips, [], root)


def _fma_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each track; columns have names of two parts, on two lines, such as track.genre_top."""
    wanted = ("set.split", "set.subset", "track.genre_top", "artist.id")
    limit = csv.field_size_limit(_LONGEST_CELL)
    with contextlib.ExitStack() as stack:
        stack.callback(csv.field_size_limit, limit)
        reader = csv.reader(stack.enter_context(table.open(encoding="utf-8", newline="")))
        try:
            columns = [".".join(names) for names in zip(next(reader, []), next(reader, []), strict=False)]
            if missing := [name for name in wanted if name not in columns]:
                raise TfaudioError(f"{table} lacks the column {missing[0]}; take tracks.csv of fma_metadata.zip.")
            places = {name: columns.index(name) for name in wanted}
            for row in reader:
                # The third line names the index alone.
                if len(row) == len(columns) and row[0] != "track_id":
                    yield reader.line_num, {"track_id": row[0], **{name: row[i] for name, i in places.items()}}
        except (UnicodeDecodeError, csv.Error) as error:
            raise TfaudioError(f"{table} is damaged ({error}); unpack fma_metadata.zip again.") from error
