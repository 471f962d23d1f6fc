"""Golden vectors: waveforms, and what a model makes of them, written at export and replayed on the device.

They tell whether a front end and a model compute on some board, phone or port what they computed where they were
made. The waveforms are synthetic, so that no recording leaves the house with the model.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfaudio.errors import TfaudioError

FILE = "golden.npz"
FEATURES_TENSOR = "features"  # in every model file: what its front end gives

Array = npt.NDArray[np.float32]
_FULL_SCALE = 32_768.0
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs and outputs of the models of one export.

    Args:
      waveforms: int16 [vectors, samples]; divided by 32,768 they are the models' input.
      features: float32 [vectors, frames, bins], what the Keras front end gives.
      scores: of each model by the name of its file, or folder, float32 [vectors, classes].
      sha256: of each model file by its name; of a SavedModel, that of its saved_model.pb.
    """

    waveforms: npt.NDArray[np.int16]
    features: Array
    scores: dict[str, Array]
    sha256: dict[str, str]

    @property
    def inputs(self) -> Array:
        """float32 [vectors, samples] in [-1, 1)."""
        return to_float(self.waveforms)

    def to_bytes(self) -> bytes:
        """Returns the content of a golden.npz, the same for the same vectors."""
        content = io.BytesIO()
        names = sorted(self.scores)
        np.savez_compressed(
            content,
            format=np.array(_FORMAT),
            waveforms=self.waveforms,
            features=self.features,
            files=np.array(names),
            sha256=np.array([self.sha256[name] for name in names]),
            **{f"scores_{index}": self.scores[name] for index, name in enumerate(names)},
        )
        return content.getvalue()

    @classmethod
    def read(cls, path: Path) -> Golden:
        """Reads a golden.npz.

        Raises:
          TfaudioError: if there is none, or it is damaged or of a later version.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                if int(arrays["format"]) > _FORMAT:
                    raise TfaudioError(f"{path} is of a later version of tfaudio; upgrade it.")
                names = [str(name) for name in arrays["files"]]
                return cls(
                    waveforms=arrays["waveforms"],
                    features=arrays["features"],
                    scores={name: arrays[f"scores_{index}"] for index, name in enumerate(names)},
                    sha256=dict(zip(names, map(str, arrays["sha256"]), strict=True)),
                )
        except FileNotFoundError as error:
            raise TfaudioError(f"There are no golden vectors {path}; copy {FILE} there from the export.") from error
        except TfaudioError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise TfaudioError(f"The golden vectors {path} are damaged; copy {FILE} of the export again.") from error


def to_float(waveforms: npt.NDArray[np.int16]) -> Array:
    """Scales 16-bit samples to float32 in [-1, 1)."""
    return (waveforms / np.float32(_FULL_SCALE)).astype(np.float32)


def sha256(content: bytes) -> str:
    """Checksum of a model file, by which golden vectors know it."""
    return hashlib.sha256(content).hexdigest()


def waveforms(num_samples: int, sample_rate: int, *, seed: int = 0) -> npt.NDArray[np.int16]:
    """Makes inputs that reach every bin of a front end: a sweep, bursts of noise that fade, and silence.

    Args:
      num_samples: of each.
      sample_rate: Hz.
      seed: of the noise.

    Returns:
      int16 [3, num_samples].
    """
    time = np.arange(num_samples) / sample_rate
    duration = num_samples / sample_rate
    low, high = 30.0, 0.49 * sample_rate
    octaves = np.log(high / low)
    sweep = 0.5 * np.sin(2.0 * np.pi * low * duration / octaves * np.expm1(octaves * time / duration))
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples)
    fading = 10.0 ** (-3.0 * (5.0 * time / duration % 1.0))  # five bursts, each fading by 60 dB
    vectors = np.stack([sweep, noise * fading, np.zeros(num_samples)])
    return np.round(vectors * _FULL_SCALE).astype(np.int16)
