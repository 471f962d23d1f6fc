"""`tfaudio evaluate`: score a run again on its own test recordings."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from tfaudio.cli import load_tensorflow, refuse_arguments
from tfaudio.cli.scoring import check_scoring_flags, define_scoring_flags
from tfaudio.files import write_json

USAGE = """tfaudio evaluate --run_dir=RUN [--json=FILE] [--report_dir=DIR]

Scores a run on the test recordings of its own split: accuracy, balanced accuracy, macro F1, mean average precision,
each class, and who is taken for whom. Of a run that takes text too (--model=audio_text) it also tells the figures
without the text, without the sound, and with the texts of other recordings, so that one sees what the text is worth. Of
a run whose recordings have several classes: mean average precision, lwlrap, F1 and each class.

  tfaudio evaluate --run_dir=runs/birds --json=birds.json
"""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the command's flags."""
    report = "the figures, the confusion matrix (CSV, PNG) and each prediction"
    define_scoring_flags(flag_values, run_dir="Run folder to score.", report=report)


def main(flag_values: flags.FlagValues, arguments: list[str]) -> int:
    """Scores and reports."""
    refuse_arguments(arguments)
    check_scoring_flags(flag_values)
    from tfaudio.bundle import PREDICTIONS, load_bundle, read_config

    run_dir = Path(flag_values.run_dir)
    read_config(run_dir)  # before TensorFlow is loaded

    load_tensorflow()
    from tfaudio.evaluation.evaluate import evaluate
    from tfaudio.evaluation.protocol import caveats, caveats_text
    from tfaudio.evaluation.report import inputs_table, metrics_table, write_report

    bundle = load_bundle(run_dir).moved_data(flag_values.data_dir)
    evaluation = evaluate(bundle)
    title = f"{bundle.config.data.dataset}, {bundle.config.model.name}"
    print(metrics_table(evaluation.metrics, title=title))
    if evaluation.by_inputs:
        print(inputs_table(evaluation.by_inputs))
    print(caveats_text(caveats(bundle.config)), end="")
    if flag_values.json:
        skipped_files = [{"path": s.path, "reason": s.reason} for s in evaluation.skipped]
        document = {"run_dir": str(run_dir), **evaluation.metrics.to_dict(), "skipped": skipped_files}
        document |= caveats(bundle.config)
        if evaluation.by_inputs:
            document["by_inputs"] = {name: found.to_dict() for name, found in evaluation.by_inputs.items()}
        write_json(flag_values.json, document)
    if flag_values.report_dir:
        report_dir = Path(flag_values.report_dir)
        evaluation.write_predictions(report_dir / PREDICTIONS, bundle)
        write_report(report_dir, evaluation.metrics, title=title)
    return 0
