"""`tfaudio models` lists what is registered, with figures that a model built in earnest has."""

from __future__ import annotations

import inspect
import json

from tfaudio.cli.main import main
from tfaudio.config import ModelConfig
from tfaudio.models import MODELS, build_model


def test_every_architecture_has_its_row(capsys):
    assert main(["models", "--format=json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["clip"] == {"seconds": 5.0, "classes": 10}
    rows = {row["name"]: row for row in table["models"]}
    assert list(rows) == list(MODELS)
    for row in rows.values():
        assert row["parameters"] > 5_000
        assert row["macs"] > 20_000
        assert row["masked"]
        assert row["paper"].startswith(("https://arxiv.org/abs/", "https://doi.org/")), row["name"]
        assert row["paper"][-1].isdigit()
        macs = f"{row['macs'] / 1e6:,.1f} million" if row["macs"] >= 1e5 else f"{row['macs']:,}"
        size = f"Size (`tfaudio models`): {row['parameters']:,} parameters, {macs} multiplications for 5 s."
        assert size in (inspect.getdoc(MODELS[row["name"]]) or ""), row["name"]
    # 5 s at 16 kHz in the frames of each model's own recipe: 20 + 12 + 6 + 6 bins of librosa's features, 10 ms.
    inputs = {"cnn": (157, 64), "dense": (157, 44), "waveform_cnn": (157, 512), "yamnet": (501, 64)}
    for name, shape in inputs.items():
        assert (rows[name]["frames"], rows[name]["bins"]) == shape
    for name, bins in (("cnn", 64), ("attention", 64), ("dense", 44)):
        built = build_model(ModelConfig(name=name), input_shape=(None, bins), num_classes=10)
        assert rows[name]["parameters"] == sum(w.numpy().size for w in built.trainable_weights)
    # The hidden layers see mean and deviation of each bin.
    assert rows["dense"]["macs"] == 2 * 44 * 128 + 128 * 64 + 64 * 10
    assert rows["cnn6"]["paper"] == "https://arxiv.org/abs/1912.10211"


def test_the_table_is_readable(capsys, monkeypatch):
    monkeypatch.setattr("tfaudio.models.MODELS", {name: MODELS[name] for name in ("dense", "ds_cnn")})
    assert main(["models"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model     parameters  million MACs     input  masked  paper",
        "dense         20,490           0.0    157x44  yes     https://doi.org/10.1109/TSA.2002.800560",
        "ds_cnn        23,050          53.7    157x64  yes     https://arxiv.org/abs/1711.07128",
        "MACs: multiply-accumulates for 5 s and 10 classes; input: frames and bins of such a clip",
    ]


def test_what_is_no_flag_is_refused(capsys):
    assert main(["models", "cnn"]) == 2
    assert "takes flags only" in capsys.readouterr().err
