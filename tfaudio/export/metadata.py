"""What a TFLite file says about itself: MediaPipe's metadata for its readers, tfaudio.json for ours.

Both lie in the one file: the first as a buffer of the model, which names the label file; labels.txt and tfaudio.json
as a ZIP archive behind the model, which every TFLite runtime ignores. `tfaudio.runtime.metadata` reads them back.

Source: tensorflow/lite/schema metadata_schema.fbs, version 1.3.0, whose generated code no maintained package ships.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

import tfaudio
from tfaudio.export.flatbuffer import parse, schema, serialize
from tfaudio.model_settings import CHANNELS, LABELS_FILE, SCORE_RANGE, SETTINGS_FILE, VOCABULARY_FILE, ModelMetadata
from tfaudio.text import Tokenizer

_METADATA_NAME = b"TFLITE_METADATA"
_MIN_PARSER_VERSION = "1.3.0"

# Members of the schema's unions and enumerations.
_CONTENT_AUDIO, _CONTENT_FEATURE = 4, 1
_FILE_UNKNOWN, _FILE_AXIS_LABELS, _FILE_VOCABULARY = 0, 2, 5

# A table's fields by slot: the schema's order of declaration.
_Offset = int


def with_metadata(content: bytes, metadata: ModelMetadata) -> bytes:
    """Adds both kinds of metadata to a TFLite file.

    Args:
      content: the file, waveform [1, num_samples], of a model that takes text beside tokens, to scores [1, classes].
      metadata: what the file is to say of itself.

    Returns:
      The file with metadata; the same bytes for the same input.
    """
    model = parse(content)
    buffer = schema.BufferT()
    description = f"{metadata.model} audio classifier, {metadata.variant}"
    told = mediapipe_metadata(sample_rate=metadata.sample_rate, description=description, tokenizer=metadata.tokenizer)
    buffer.data = np.frombuffer(told, np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _METADATA_NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    model.description = f"tfaudio {tfaudio.__version__}".encode()
    body = serialize(model)
    archive = io.BytesIO(body)
    with zipfile.ZipFile(archive, "a") as files:
        for name, text in metadata.to_files(body=body).items():
            # A fixed date keeps the file reproducible; uncompressed, since readers on devices map it as it is.
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.external_attr = 0o644 << 16
            files.writestr(member, text.encode("utf-8"))
    return archive.getvalue()


def mediapipe_metadata(
    *, sample_rate: int, description: str, channels: int = CHANNELS, tokenizer: Tokenizer | None = None
) -> bytes:
    """Builds the metadata flatbuffer that MediaPipe and TFLite's task library read.

    With a second input, which it then tells, MediaPipe's audio classifier refuses a model, as it should.

    Args:
      sample_rate: Hz, of the waveform that the model takes.
      description: of the model.
      channels: of the waveform.
      tokenizer: of a model that takes text.

    Returns:
      A flatbuffer of file identifier "M001".
    """
    b = flatbuffers.Builder(1024)
    audio = _table(b, 2, uint32={0: sample_rate, 1: channels})
    content = _table(b, 3, uint8={0: _CONTENT_AUDIO}, offsets={1: audio})
    input_tensor = _tensor(b, "waveform", "Mono audio in [-1, 1].", content, lowest=-1.0, highest=1.0)
    feature = _table(b, 0)
    content = _table(b, 3, uint8={0: _CONTENT_FEATURE}, offsets={1: feature})
    labels = _associated_file(b, LABELS_FILE, "Class names in the order of the scores.", _FILE_AXIS_LABELS)
    lowest, highest = SCORE_RANGE
    output_tensor = _tensor(b, "scores", "One score a class.", content, lowest=lowest, highest=highest, files=[labels])
    input_tensors = [input_tensor]
    if tokenizer is not None:
        content = _table(b, 3, uint8={0: _CONTENT_FEATURE}, offsets={1: _table(b, 0)})
        words = _associated_file(b, VOCABULARY_FILE, "The word of each token, one a line.", _FILE_VOCABULARY)
        most = float(len(tokenizer.vocabulary) + 1)
        about = "Words of a text by their tokens; 0 where there is none."
        input_tensors.append(_tensor(b, "tokens", about, content, lowest=0.0, highest=most, files=[words]))
    inputs, outputs = _vector(b, input_tensors), _vector(b, [output_tensor])
    graph = _table(b, 10, offsets={2: inputs, 3: outputs})
    graphs = _vector(b, [graph])
    ours = _associated_file(b, SETTINGS_FILE, "Every setting of the front end, as JSON.", _FILE_UNKNOWN)
    files = _vector(b, [ours])
    name, text, version = b.CreateString("tfaudio"), b.CreateString(description), b.CreateString(tfaudio.__version__)
    parser = b.CreateString(_MIN_PARSER_VERSION)
    root = _table(b, 8, offsets={0: name, 1: text, 2: version, 3: graphs, 6: files, 7: parser})
    b.Finish(root, b"M001")
    return bytes(b.Output())


def _tensor(
    b: Any,
    name: str,
    description: str,
    content: _Offset,
    *,
    lowest: float,
    highest: float,
    files: Sequence[_Offset] = (),
) -> _Offset:
    strings = b.CreateString(name), b.CreateString(description)
    # Some readers fail where it is missing.
    stats = _table(b, 2, offsets={0: _float_vector(b, highest), 1: _float_vector(b, lowest)})
    offsets = {0: strings[0], 1: strings[1], 3: content, 5: stats}
    if files:
        offsets[6] = _vector(b, files)
    return _table(b, 7, offsets=offsets)


def _associated_file(b: Any, name: str, description: str, kind: int) -> _Offset:
    strings = b.CreateString(name), b.CreateString(description)
    return _table(b, 5, offsets={0: strings[0], 1: strings[1]}, uint8={2: kind})


def _table(
    b: Any,
    num_slots: int,
    *,
    offsets: Mapping[int, _Offset] | None = None,
    uint8: Mapping[int, int] | None = None,
    uint32: Mapping[int, int] | None = None,
) -> _Offset:
    b.StartObject(num_slots)
    for slot, value in (offsets or {}).items():
        b.PrependUOffsetTRelativeSlot(slot, value, 0)
    for slot, value in (uint32 or {}).items():
        b.PrependUint32Slot(slot, value, 0)
    for slot, value in (uint8 or {}).items():
        b.PrependUint8Slot(slot, value, 0)
    return int(b.EndObject())


def _float_vector(b: Any, value: float) -> _Offset:
    b.StartVector(4, 1, 4)
    b.PrependFloat32(value)
    return int(b.EndVector())


def _vector(b: Any, offsets: Sequence[_Offset]) -> _Offset:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
