"""Training on recordings of several classes: the loss, the weights of examples, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from tfaudio.bundle import load_bundle
from tfaudio.config import RunConfig
from tfaudio.data.labelled import read_labelled_data
from tfaudio.data.synthetic import write_synthetic_tags
from tfaudio.errors import TfaudioError
from tfaudio.evaluation.evaluate import evaluate
from tfaudio.evaluation.tagging import TagMetrics, chance
from tfaudio.training.loss import make_loss
from tfaudio.training.trainer import class_counts, class_weights, shuffled_labels, train

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5)).astype(np.float32) * 3
TAGS = (RNG.random((6, 5)) < 0.4).astype(np.float32)
TAGS[:, 2] = 1.0


def settings(**changes: object) -> RunConfig:
    return RunConfig().override(changes)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_tags_is_the_binary_cross_entropy_of_each(smoothing: float) -> None:
    config = settings(**{"model.score_activation": "sigmoid", "training.label_smoothing": smoothing})
    found = np.asarray([float(make_loss(config)(TAGS[row : row + 1], LOGITS[row : row + 1])) for row in range(6)])
    scores = expit(LOGITS.astype(np.float64))
    smooth = np.empty_like(TAGS, np.float64)
    for row, tags in zip(smooth, TAGS, strict=True):
        row[:] = (1 - smoothing) * tags + smoothing * tags.sum() / 5
    expected = -(smooth * np.log(scores) + (1 - smooth) * np.log(1 - scores)).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    weights = np.array([1.0, 0.0, 2.0, 0.5, 1.5, 1.0])
    weighted = float(make_loss(config)(TAGS, LOGITS, sample_weight=weights.astype(np.float32)))
    assert weighted == pytest.approx(np.mean(weights * expected), rel=1e-5)


def test_smoothing_keeps_the_number_of_tags_that_are_to_be_expected() -> None:
    # Where each score is the smoothed target the slope is zero, so that is what the scores are drawn to.
    import tensorflow as tf

    config = settings(**{"model.score_activation": "sigmoid", "training.label_smoothing": 0.3})
    smooth = 0.7 * TAGS + 0.3 * TAGS.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(smooth.sum(axis=1), TAGS.sum(axis=1), rtol=1e-6)
    logits = tf.constant(np.log(smooth / (1 - np.minimum(smooth, 1 - 1e-7))))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = make_loss(config)(TAGS, logits)
    slopes = tape.gradient(loss, logits).numpy()
    np.testing.assert_allclose(slopes[smooth < 0.999], 0.0, atol=1e-6)


def test_the_loss_of_single_classes_is_what_it_was() -> None:
    one_hot = np.eye(5, dtype=np.float32)[[0, 3, 2, 2, 1, 4]]
    found = float(make_loss(settings(**{"training.label_smoothing": 0.1}))(one_hot, LOGITS))
    logs = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum(axis=1, keepdims=True))
    assert found == pytest.approx(-((0.9 * one_hot + 0.02) * logs).sum(axis=1).mean(), rel=1e-5)


def test_weights_of_examples_are_the_mean_over_their_classes_and_one_on_the_average() -> None:
    np.testing.assert_array_equal(class_counts(TAGS, 5), TAGS.sum(axis=0))
    weights = class_weights(TAGS, 5)
    of_examples = [np.mean([weights[c] for c in range(5) if tags[c]]) for tags in TAGS]
    assert np.mean(of_examples) == pytest.approx(1.0)
    shares = weights * np.maximum(TAGS.sum(axis=0), 1)
    np.testing.assert_allclose(shares, shares[0], rtol=1e-6)  # inverse to how many have the class
    classes = np.array([0, 0, 0, 1])
    np.testing.assert_allclose(class_weights(np.eye(2, dtype=np.float32)[classes], 2), class_weights(classes, 2))


def test_shuffling_deals_whole_rows() -> None:
    targets = np.arange(40.0).reshape(20, 2)
    shuffled = shuffled_labels(targets, (np.arange(10),), seed=0)
    np.testing.assert_array_equal(shuffled[10:], targets[10:])
    assert (shuffled[:10] != targets[:10]).any()
    assert sorted(map(tuple, shuffled[:10])) == sorted(map(tuple, targets[:10]))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = write_synthetic_tags(tmp_path_factory.mktemp("data") / "tags", clips=300, seconds=0.5)
    return settings(
        **{
            "data.dataset": "manifest",
            "data.data_dir": str(folder),
            "data.test_fold": 1,
            "front_end.frame_length": 512,
            "front_end.frame_step": 256,
            "front_end.fft_length": 512,
            "front_end.num_mel_bins": 32,
            "clip.seconds": 0.5,
            "model.options": {"filters": [16, 32], "head": "class_attention"},
            "training.epochs": 25,
            "training.batch_size": 16,
            "training.learning_rate": 1e-2,
        }
    )


def test_tags_are_learnt_and_those_of_shuffled_labels_are_not(config: RunConfig, tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = read_labelled_data(config, progress=False)
    found = {}
    for shuffled in (False, True):
        chosen = config.override({"training.shuffle_labels": shuffled})
        run = train(chosen, tmp_path / str(shuffled), data=data, progress=False, log=lambda line: None)
        assert run.config.multi_label
        assert load_bundle(run.path).config.model.score_activation == "sigmoid"
        found[shuffled] = evaluate(run, data=data)
    metrics = found[False].metrics
    assert isinstance(metrics, TagMetrics)
    level = chance([found[False].result("1", RunConfig())])  # type: ignore[list-item]
    assert 0.15 < level < 0.35
    assert metrics.mean_average_precision > 0.7
    assert found[True].metrics.mean_average_precision < level + 0.12


def test_a_resumed_run_must_have_the_same_kind_of_scores(small_config: RunConfig, tmp_path) -> None:  # type: ignore[no-untyped-def]
    quick = small_config.override({"training.epochs": 1})
    train(quick.override({"model.score_activation": "sigmoid"}), tmp_path, progress=False, log=lambda line: None)
    with pytest.raises(TfaudioError, match=r"other settings \(model\.score_activation\)"):
        train(quick, tmp_path, resume=True, progress=False, log=lambda line: None)
