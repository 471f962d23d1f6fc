"""A page about an export for people: what the model is, what it was trained on, what its files can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tfaudio.export.report import ExportReport, number

_UNKNOWN = "not stated; to be filled in by whoever publishes the model"


def card(report: ExportReport) -> str:
    """Returns card.md, in Markdown. It states what the export knows, and says of the rest that it is not stated."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ExportReport) -> Iterator[str]:
    about = report.details
    labels: list[str] = about["labels"]
    front_end, clip = about["front_end"], about["clip"]
    yield f"# {about['model']}: {len(labels)} classes of sound"
    yield ""
    length = "recordings of any length" if clip["seconds"] is None else f"{clip['seconds']:g} s at a time"
    tags = report.metric != "accuracy"
    kind, scores = ("tagger", "each by itself") if tags else ("classifier", "the scores summing to one")
    yield (
        f"An audio {kind}: mono audio at {front_end['sample_rate']} Hz in, {length}; one score a class out, {scores}. "
        "Front end, labels and settings are inside each file."
    )
    if "text" in about:
        yield ""
        yield (
            f"Beside the sound it takes a text of up to {about['text']['length']} words, such as a title; either may "
            'be missing: a text of "", a waveform of zeros. A `.tflite` file takes the words as tokens, int32 '
            f"[1, {about['text']['length']}], by the vocabulary.txt inside it, 0 where there is no word; "
            "`tfaudio.runtime` makes them. MediaPipe's AudioClassifier takes sound alone and does not run these files."
        )
    yield ""
    yield from _table(
        ("", ""),
        [
            ("architecture", f"`{about['model']}`"),
            ("trained on", f"data set `{about['dataset']}`, fingerprint `{about['dataset_fingerprint'] or 'unknown'}`"),
            ("calibrated on", f"{report.calibration_clips} training clips, named in report.json"),
            ("compared on", f"{report.clips} {'test' if report.clips_source == 'test' else 'calibration'} clips"),
            ("written by", f"tfaudio {about['tfaudio']}, TensorFlow {about['tensorflow']}, Keras {about['keras']}"),
            ("licence of the model", _UNKNOWN),
            ("licence of the data", about.get("dataset_licence") or _UNKNOWN),
            ("intended use, limits", _UNKNOWN),
        ],
    )
    yield ""
    yield "## Files"
    yield ""
    header, *rows = report.rows()
    yield from _table(header, rows)
    yield ""
    figures = "Mean average precision (mAP) and agreement (tags in common with Keras, of all that either gives)"
    yield (
        f"{figures if tags else 'Accuracy and agreement (the same best class as Keras)'} are of the clips above; ms is "
        "the median time of one call where the files were made."
    )
    for found in report.formats:
        for remark in (*found.notes, *found.problems):
            yield f"- {found.name}: {remark.rstrip('.')}."
    if report.keras_class_accuracy is not None:
        yield ""
        yield f"## {'Average precision' if tags else 'Accuracy'} by class"
        yield ""
        written = [found for found in report.formats if found.passed and found.class_accuracy]
        yield from _table(
            ("class", "keras", *(found.name for found in written)),
            [
                (
                    label,
                    number(report.keras_class_accuracy[label], ".3f"),
                    *(number((found.class_accuracy or {})[label], ".3f") for found in written),
                )
                for label in labels
            ],
        )
    yield ""
    yield "## Front end"
    yield ""
    yield from _table(("setting", "value"), [(key, _value(value)) for key, value in front_end.items()])


def _value(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
