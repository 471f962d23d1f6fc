"""The data sets that can be named: what each is, under which licence, where it comes from and who reads it.

A reader looks at names, tables and sizes only: no audio is decoded here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tfaudio.config import DataConfig
from tfaudio.data.manifest import read_manifest
from tfaudio.data.readers.emotion import read_crema_d, read_emodb, read_ravdess
from tfaudio.data.readers.environmental import read_esc, read_fsd50k, read_urbansound8k
from tfaudio.data.readers.folder import read_folder
from tfaudio.data.readers.freesound import read_freesound
from tfaudio.data.readers.music import read_fma_small, read_gtzan
from tfaudio.data.readers.speech import read_fsdd, read_speech_commands
from tfaudio.data.spec import NOT_AUDIO, DatasetSpec
from tfaudio.data.synthetic import synthetic_folder, synthetic_tags_folder
from tfaudio.errors import TfaudioError
from tfaudio.files import absolute
from tfaudio.registry import Registry


@dataclass(frozen=True)
class Archive:
    """A file to fetch and unpack.

    Args:
      url: where it lies.
      checksum: as its publisher states it: "sha256:", "sha1:" or "md5:" and the digest in hex.
    """

    url: str
    checksum: str

    @property
    def file_name(self) -> str:
        """The last part of the URL."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """A data set that a configuration can name.

    Args:
      name: the name.
      description: one line for people.
      licence: licence of the recordings.
      task: what is told apart.
      reader: takes the folder (or file) and returns the data set.
      built_in: writes the data set on first use and returns its folder; None where the user has to say where it lies.
      url: its home page; "" for data of the user's own.
      citation: paper or author to name.
      archives: what `tfaudio datasets fetch` gets.
      by_hand: how to get it where that command cannot, as a sentence.
    """

    name: str
    description: str
    licence: str
    task: str
    reader: Callable[[Path], DatasetSpec]
    url: str = ""
    citation: str = ""
    built_in: Callable[[], Path] | None = None
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""


DATASETS: Registry[CatalogEntry] = Registry("data set")


def read_dataset(config: DataConfig) -> DatasetSpec:
    """Reads the data set that a configuration names.

    Args:
      config: its name and place; with `strict`, a recording that cannot be used raises instead of being
        listed in `DatasetSpec.skipped`. A file that is no audio by its name never raises.

    Raises:
      TfaudioError: if the name is unknown, the folder is missing or does not hold what it should, or
        fewer than two classes are left.
    """
    entry = DATASETS[config.dataset]
    if config.data_dir is not None:
        path = absolute(config.data_dir)
    elif entry.built_in is None:
        raise TfaudioError(f"Data set '{entry.name}' has to be told where it lies; set data.data_dir (--data_dir).")
    else:
        path = entry.built_in()
    if not path.exists():
        raise TfaudioError(
            f"{path} does not exist; set data.data_dir (--data_dir) to where data set '{entry.name}' lies."
        )
    spec = entry.reader(path)
    unusable = [s for s in spec.skipped if s.reason != NOT_AUDIO]
    if config.strict and unusable:
        raise TfaudioError(
            f"{unusable[0].path}: {unusable[0].reason}; mend or remove it, or set data.strict to false to skip it."
        )
    return replace(spec, description=entry.description, licence=entry.licence)


def _read_synthetic(root: Path, name: str) -> DatasetSpec:
    return replace(read_manifest(root), name=name)


_ESC = CatalogEntry(
    name="esc50",
    description="ESC-50: 2,000 environmental clips of 5 s, 50 classes, 5 folds",
    licence="CC BY-NC 3.0",
    task="environmental sounds",
    reader=partial(read_esc, name="esc50"),
    url="https://github.com/karolpiczak/ESC-50",
    citation='K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015',
    by_hand="Clone the repository of its home page, which has no archive with a published checksum.",
)
_SPEECH_COMMANDS = CatalogEntry(
    name="speech_commands_v2",
    description="Speech Commands 2: 105,829 spoken words of 1 s, 35 classes, split by speaker",
    licence="CC BY 4.0",
    task="spoken words",
    reader=partial(read_speech_commands, version=2),
    url="https://arxiv.org/abs/1804.03209",
    citation='P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018',
    # Stated alike by the loaders of TensorFlow Datasets and of torchaudio.
    archives=(
        Archive(
            "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
    ),
)
_SPEECH_COMMANDS_1 = replace(
    _SPEECH_COMMANDS,
    name="speech_commands_v1",
    description="Speech Commands 1: 65,000 spoken words of 1 s, 30 classes, split by speaker",
    reader=partial(read_speech_commands, version=1),
    archives=(
        Archive(
            "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
            "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        ),
    ),
)
_KEYWORDS = "ten words, _unknown_ and _silence_, split by speaker"

for _entry in (
    CatalogEntry(
        name="folder",
        description="Your own recordings: one subfolder a class",
        licence="yours",
        task="the names of the subfolders",
        reader=read_folder,
    ),
    CatalogEntry(
        name="manifest",
        description="Your own recordings, listed in a CSV file",
        licence="yours",
        task="column label",
        reader=read_manifest,
    ),
    CatalogEntry(
        name="freesound",
        description="Your own choice of Freesound: recordings with their metadata in JSON, grouped by uploader",
        licence="each recording's own, in its metadata",
        task="label in the metadata, or the top folder",
        reader=read_freesound,
        url="https://freesound.org",
        by_hand="Choose sounds there, and keep the JSON of each beside it; the service asks for an account.",
    ),
    replace(
        _ESC,
        name="esc10",
        description="ESC-10: 400 environmental clips of 5 s, 10 classes, 5 folds",
        licence="CC BY 3.0",
        reader=partial(read_esc, name="esc10"),
        by_hand="Clone the repository of ESC-50, its home page: ESC-10 is the part marked so in its table.",
    ),
    _ESC,
    CatalogEntry(
        name="urbansound8k",
        description="UrbanSound8K: 8,732 urban clips of up to 4 s, 10 classes, 10 folds",
        licence="CC BY-NC",
        task="urban sounds",
        reader=read_urbansound8k,
        url="https://urbansounddataset.weebly.com/urbansound8k.html",
        citation='J. Salamon et al., "A Dataset and Taxonomy for Urban Sound Research", ACM Multimedia 2014',
        # As its authors' record at Zenodo states it, and the loader of soundata.
        archives=(
            Archive(
                "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz", "md5:9aa69802bbf37fb986f71ec1483a196e"
            ),
        ),
    ),
    CatalogEntry(
        name="fsdd",
        description="Free Spoken Digit Dataset: 3,000 spoken digits of 6 speakers at 8 kHz",
        licence="CC BY-SA 4.0",
        task="spoken digits",
        reader=read_fsdd,
        url="https://github.com/Jakobovski/free-spoken-digit-dataset",
        citation="Z. Jackson et al., Free Spoken Digit Dataset",
        by_hand="Clone the repository of its home page, which has no archive with a published checksum.",
    ),
    _SPEECH_COMMANDS_1,
    replace(
        _SPEECH_COMMANDS_1,
        name="speech_commands_v1_12",
        description=f"Speech Commands 1 as keywords: {_KEYWORDS}",
        reader=partial(read_speech_commands, version=1, keywords=True),
    ),
    _SPEECH_COMMANDS,
    replace(
        _SPEECH_COMMANDS,
        name="speech_commands_v2_12",
        description=f"Speech Commands 2 as keywords: {_KEYWORDS}",
        reader=partial(read_speech_commands, version=2, keywords=True),
    ),
    CatalogEntry(
        name="ravdess",
        description="RAVDESS: 1,440 spoken sentences of 24 actors, 8 emotions",
        licence="CC BY-NC-SA 4.0",
        task="emotions of speech",
        reader=read_ravdess,
        url="https://zenodo.org/records/1188976",
        citation='S. R. Livingstone, F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", '
        "PLoS ONE 13(5), 2018",
        # As its authors' record at Zenodo states it.
        archives=(
            Archive(
                "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
                "md5:bc696df654c87fed845eb13823edef8a",
            ),
        ),
    ),
    CatalogEntry(
        name="emodb",
        description="Emo-DB: 535 German sentences of 10 speakers, 7 emotions",
        licence="CC0 1.0",
        task="emotions of speech",
        reader=read_emodb,
        url="http://emodb.bilderbar.info",
        citation='F. Burkhardt et al., "A Database of German Emotional Speech", Interspeech 2005',
        by_hand="Download the archive from its home page, which states no checksum, and unpack it.",
    ),
    CatalogEntry(
        name="crema_d",
        description="CREMA-D: 7,442 sentences of 91 actors, 6 emotions",
        licence="ODbL 1.0",
        task="emotions of speech",
        reader=read_crema_d,
        url="https://github.com/CheyneyComputerScience/CREMA-D",
        citation='H. Cao et al., "CREMA-D: Crowd-Sourced Emotional Multimodal Actors Dataset", IEEE Transactions on '
        "Affective Computing, 2014",
        by_hand="Clone the repository of its home page with git-lfs; its authors ask users to fill in a form there.",
    ),
    CatalogEntry(
        name="gtzan",
        description="GTZAN: 1,000 tracks of 30 s, 10 genres; with its three lists, the fault-filtered split",
        licence="none stated",
        task="genres of music",
        reader=read_gtzan,
        url="http://marsyas.info/downloads/datasets.html",
        citation='G. Tzanetakis, P. Cook, "Musical Genre Classification of Audio Signals", 2002',
        by_hand="Its first host is gone, so take a copy with ten folders of genres; the lists of the fault-filtered "
        "split, train_filtered.txt, valid_filtered.txt and test_filtered.txt, are at "
        "https://github.com/coreyker/dnn-mgr in its folder gtzan.",
    ),
    CatalogEntry(
        name="fma_small",
        description="Free Music Archive, small: 8,000 tracks of 30 s, 8 genres, split by artist",
        licence="each track's own, in its metadata; metadata CC BY 4.0",
        task="genres of music",
        reader=read_fma_small,
        url="https://github.com/mdeff/fma",
        citation='M. Defferrard et al., "FMA: A Dataset For Music Analysis", ISMIR 2017',
        # As its home page states them.
        archives=(
            Archive(
                "https://os.unil.cloud.switch.ch/fma/fma_metadata.zip", "sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733"
            ),
            Archive(
                "https://os.unil.cloud.switch.ch/fma/fma_small.zip", "sha1:ade154f733639d52e35e32f5593efe5be76c6d70"
            ),
        ),
    ),
    CatalogEntry(
        name="fsd50k",
        description="FSD50K: 51,197 clips of Freesound, 200 classes, several a clip",
        licence="CC BY 4.0 as a whole; each clip's own, some of them CC BY-NC, in its metadata",
        task="tags of sound events",
        reader=read_fsd50k,
        url="https://zenodo.org/records/4060432",
        citation='E. Fonseca et al., "FSD50K: An Open Dataset of Human-Labeled Sound Events", IEEE/ACM TASLP 30, 2022',
        by_hand="Download its archives from its home page and unpack them into one folder; the audio lies in ZIP files "
        "of several parts, which `zip -s 0 FSD50K.dev_audio.zip --out dev.zip` joins first, and likewise for eval.",
    ),
    CatalogEntry(
        name="synthetic",
        description="Built in: 400 sounds of 1 s made by signal processing, 10 classes, 5 folds",
        licence="CC0 1.0",
        task="kinds of sound",
        reader=partial(_read_synthetic, name="synthetic"),
        built_in=synthetic_folder,
    ),
    CatalogEntry(
        name="synthetic_tags",
        description="Built in: 500 mixtures of 1 s of one to three of the same sounds, 10 tags, 5 folds",
        licence="CC0 1.0",
        task="tags of kinds of sound",
        reader=partial(_read_synthetic, name="synthetic_tags"),
        built_in=synthetic_tags_folder,
    ),
):
    DATASETS.register(_entry.name)(_entry)
