"""`tfaudio optimize`: a run trained on for integers, with fewer weights or with fewer values, beside a control."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

from absl import flags

from tfaudio.cli import command_line, load_tensorflow, refuse_arguments
from tfaudio.cli.gate import define_gate_flags, gate_of
from tfaudio.files import check_can_write, refuse_existing_folder, write_json
from tfaudio.optimize.settings import METHODS, OptimizeConfig, check_methods

USAGE = """tfaudio optimize --run_dir=RUN --output_dir=OUT [--method=qat,prune,cluster] [flags]

Trains a run on for some epochs with tensorflow-model-optimization, and exports what comes of it:

  qat      quantisation-aware training: the weights learn to live with int8
  prune    the smallest weights of each layer become zero: smaller when compressed
  cluster  the weights of each layer share a few values: likewise

One table compares them with the run as it was, and with a control that was trained on as long without any method. A
method's files pass the gate of `tfaudio export`, and may lose no more accuracy than it allows against the run as it
was; otherwise they are not written, and the command exits with 1. OUT/prune/run and OUT/cluster/run are run folders
that `tfaudio evaluate`, `calibrate`, `export` and others take. It takes cnn, ds_cnn, bc_resnet and dense, trained on
windows.

  tfaudio optimize --run_dir=runs/birds --output_dir=optimized/birds --method=qat --epochs=10
"""

# Flags that set a key of OptimizeConfig.
_SETTINGS = ("epochs", "learning_rate", "sparsity", "clusters", "calibration_clips")


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    defaults = asdict(OptimizeConfig())

    def number(define: object, name: str, text: str) -> None:
        define(name, defaults[name], text, flag_values=flag_values)  # type: ignore[operator]

    flags.DEFINE_string("run_dir", None, "Run folder to start from; it is left as it is.", flag_values=flag_values)
    flags.DEFINE_string("output_dir", None, "Folder to write to.", flag_values=flag_values)
    flags.DEFINE_list("method", list(METHODS), f"Any of {', '.join(METHODS)}.", flag_values=flag_values)
    number(flags.DEFINE_integer, "epochs", "Further passes over the training recordings, of each method.")
    number(flags.DEFINE_float, "learning_rate", "First rate of Adam; it falls to 0.")
    number(flags.DEFINE_float, "sparsity", "Share of each layer's weights that prune sets to zero.")
    number(flags.DEFINE_integer, "clusters", "Distinct weights that cluster leaves in each layer.")
    number(flags.DEFINE_integer, "calibration_clips", "Training clips that tell the ranges of plain int8.")
    define_gate_flags(flag_values)
    flags.DEFINE_string("data_dir", None, "Where the data set lies now, if it was moved.", flag_values=flag_values)
    flags.DEFINE_string("json", None, "Also write the result, with how it came about, here.", flag_values=flag_values)
    flags.DEFINE_boolean("overwrite", False, "Replace what stands in the output folder.", flag_values=flag_values)
    flags.mark_flag_as_required("run_dir", flag_values)
    flags.mark_flag_as_required("output_dir", flag_values)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Trains, exports and reports; 1 if a method was withheld."""
    refuse_arguments(arguments)
    methods = check_methods(flag_values.method)
    config = OptimizeConfig(**{name: flag_values[name].value for name in _SETTINGS})
    gate = gate_of(flag_values)
    run_dir, output_dir = Path(flag_values.run_dir), Path(flag_values.output_dir)
    from tfaudio.bundle import load_bundle, read_config, read_split, was_chosen

    read_config(run_dir)
    refuse_existing_folder(output_dir, overwrite=flag_values.overwrite)
    if flag_values.json:
        check_can_write(flag_values.json, overwrite=flag_values.overwrite)

    started = time.monotonic()
    load_tensorflow()
    from tfaudio.data.catalog import read_dataset
    from tfaudio.evaluation.metrics import wilson_interval
    from tfaudio.evaluation.protocol import caveats, protocol_of, provenance, result_record
    from tfaudio.optimize.run import optimize_run

    # As it was trained: what is trained on from it is calibrated anew.
    bundle = load_bundle(run_dir, calibrated=False).moved_data(flag_values.data_dir)
    report = optimize_run(
        bundle,
        methods,
        output_dir,
        config=config,
        gate=gate,
        overwrite=flag_values.overwrite,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(report.to_text(), end="")
    spec = read_dataset(bundle.config.data)
    if flag_values.json and bundle.config.multi_label:
        # No result of a protocol: its interval takes scores, which the gate does not keep.
        facts = provenance(spec.name, bundle.config, command_line())
        write_json(flag_values.json, {**facts, "report": report.to_dict()})
    elif flag_values.json:
        accuracy = report.details["keras_accuracy"]
        recordings = min(report.clips, len(read_split(run_dir)["test"]))  # windows of one are no more recordings
        record = result_record(
            dataset=spec.name,
            protocol=protocol_of(bundle.config, spec, chosen=was_chosen(run_dir)),
            model=bundle.config.model.name,
            accuracy=accuracy,
            interval=wilson_interval(round(accuracy * recordings), recordings),
            seeds=[bundle.config.training.seed],
            command=command_line(),
            duration_seconds=round(time.monotonic() - started, 1),
            num_clips=recordings,
            extra={
                "scored": "windows",
                "num_windows": report.clips,
                "config": bundle.config.to_dict(),
                "report": report.to_dict(),
                **caveats(bundle.config),
            },
        )
        write_json(flag_values.json, record)
    print(f"optimised into {output_dir}")
    return 1 if report.problems else 0
