"""Settings of data, model and training, and all of a run's together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tfaudio.config.augment import AugmentConfig
from tfaudio.config.base import Config, check, check_range
from tfaudio.config.clip import ClipConfig
from tfaudio.config.front_end import FrontEndConfig
from tfaudio.config.text import TextConfig

# Bounds beyond which nothing is computed, only memory or a number format exhausted.
_MOST_SEEDS = 2**32  # NumPy takes no other
_MOST_STEPS = 1_000_000
_MOST_EXAMPLES = 65_536


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """Where recordings come from and how they are read.

    Args:
      dataset: a name from `tfaudio datasets`, or "folder" or "manifest".
      data_dir: the data set's folder (for "manifest", the CSV file); None only for built-in data.
      engine: "auto" takes the faster decoder for each format; "graph" runs no Python in the pipeline;
        "soundfile" always uses libsndfile.
      validation_fraction: share of the training groups held out for early stopping and the best
        checkpoint, by a hash of the group; 0 trains on all and keeps the last epoch. An official validation part is
        taken as it is, whatever this says.
      test_fold: the official fold to test on; None uses the data set's split column, or else test_fraction.
      test_group: the group (a speaker, a source) to test on, with all others to train on; takes the place of test_fold.
      train_on_all: test on no recording, and train on all but those that validation_fraction holds out, whatever
        official columns say: for a model whose figure a cross-validation has told.
      left_out_fold: official fold that takes no part at all, for choices that must not know it.
      test_fraction: share of the groups held out for testing where the data set has no official split.
      strict: stop at the first recording that cannot be used, instead of skipping and listing it.
      memory_gigabytes: decoded waveforms are kept in memory up to this size (and for a moment, when all are read, take
        twice as much); beyond it they are decoded anew in every epoch.
      parallel_calls: recordings prepared at a time; 0: two for each processor core.
    """

    section: ClassVar[str] = "data"

    dataset: str = "folder"
    data_dir: str | None = None
    engine: Literal["auto", "graph", "soundfile"] = "auto"
    validation_fraction: float = 0.0
    test_fold: int | None = None
    test_group: str | None = None
    train_on_all: bool = False
    left_out_fold: int | None = None
    test_fraction: float = 0.2
    strict: bool = False
    memory_gigabytes: float = 4.0
    parallel_calls: int = 0

    def check(self) -> None:
        check(self.data_dir != "", "data.data_dir (--data_dir) is empty; name the folder, or leave the setting out.")
        check(
            0 <= self.validation_fraction < 1,
            f"data.validation_fraction must be in [0, 1), not {self.validation_fraction}.",
        )
        check(
            self.test_fold is None or self.test_group is None,
            "data.test_fold and data.test_group exclude each other; set one of them.",
        )
        check(
            self.left_out_fold is None or self.left_out_fold != self.test_fold,
            f"data.left_out_fold and data.test_fold are both {self.test_fold}; what takes no part is not tested.",
        )
        check(
            not self.train_on_all or {self.test_fold, self.test_group, self.left_out_fold} == {None},
            "data.train_on_all tests on nothing; leave out folds and groups to test on, or the setting.",
        )
        check(0 < self.test_fraction < 1, f"data.test_fraction must be in (0, 1), not {self.test_fraction}.")
        check_range("data.memory_gigabytes", self.memory_gigabytes, 0, 1_000_000)
        check_range("data.parallel_calls", self.parallel_calls, 0, 1024)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Which classifier, and keyword arguments for its builder.

    Args:
      name: a name from `tfaudio.models.MODELS`.
      options: keyword arguments of that builder; an unknown one raises when the model is built.
      score_activation: what makes scores of its logits. "softmax": a recording has one class, and the scores sum to
        one. "sigmoid": each class is judged by itself, since a recording may have several; training sets it where a
        data set has such recordings.
    """

    section: ClassVar[str] = "model"

    name: str = "cnn"
    options: dict[str, Any] = field(default_factory=dict)
    score_activation: Literal["softmax", "sigmoid"] = "softmax"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """How weights are found.

    Args:
      epochs: passes over the training examples.
      batch_size: examples a step, over all replicas.
      learning_rate: peak rate of AdamW.
      backbone_rate: rate of the network inside the models 'backbone' and 'yamnet', as a share of learning_rate.
      warmup_fraction: share of the steps over which the rate rises from 0; it falls to 0 by a cosine after.
      weight_decay: decoupled decay of kernels (not of biases and normalisation).
      label_smoothing: share of each target spread evenly over the classes.
      class_weights: weigh examples by the inverse frequency of their class; of several classes, by the mean.
      early_stopping_patience: epochs without a better validation loss before stopping; 0 never stops.
        Needs data.validation_fraction.
      strategy: where to train: "auto" takes all GPUs, or the CPU where there is none.
      mixed_precision: compute in float16 on GPU, bfloat16 on TPU.
      seed: every random choice follows from it.
      shuffle_labels: a control: recordings keep their sounds and get each other's labels, so that what is learnt must
        be worth no more than a guess on the test recordings.
      swa_fraction: share of the epochs, the last ones, in which the rate is held and after each of which the weights
        enter a mean, which is kept (stochastic weight averaging); 0 keeps no mean. It takes the place of the choice of
        an epoch by validation loss.
      swa_rate: the rate that is held, as a share of learning_rate.
      initial_weights: folder that `tfaudio pretrain` wrote, or one of several folds, whose weights to start from.
      initial_weights_saw_test: take them even where they were found on this run's test recordings; the result is then
        no measure of unknown recordings.
      teacher: run folders, or folders of cross-validations, of the same front end and trained on the same recordings;
        what they say of each augmented example is learnt beside its label.
      distillation_weight: the teacher's share of the loss.
      distillation_temperature: by which logits are divided before teacher and student are compared; above 1, what the
        teacher holds for unlikely counts for more.
    """

    section: ClassVar[str] = "training"
    # What the training of a classifier alone heeds, when it is set.
    OF_CLASSIFIERS: ClassVar[tuple[str, ...]] = (
        *("swa_fraction", "teacher", "initial_weights", "initial_weights_saw_test", "shuffle_labels"),
        *("class_weights", "early_stopping_patience"),
    )

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 2e-3
    backbone_rate: float = 1.0
    warmup_fraction: float = 0.1
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    class_weights: bool = False
    early_stopping_patience: int = 0
    strategy: Literal["auto", "cpu", "mirrored", "multi_worker", "tpu"] = "auto"
    mixed_precision: bool = False
    seed: int = 0
    shuffle_labels: bool = False
    swa_fraction: float = 0.0
    swa_rate: float = 0.2
    initial_weights: str | None = None
    initial_weights_saw_test: bool = False
    teacher: tuple[str, ...] = ()
    distillation_weight: float = 0.7
    distillation_temperature: float = 2.0

    @property
    def averaged_epochs(self) -> int:
        """How many epochs, the last ones, the weights are averaged over."""
        return max(1, round(self.swa_fraction * self.epochs)) if self.swa_fraction else 0

    def check_plain(self, kind: str) -> None:
        """Raises TfaudioError if something is set that only the training of a classifier heeds.

        Args:
          kind: of training that would pass over it, for people.
        """
        for name in self.OF_CLASSIFIERS:
            check(not getattr(self, name), f"training.{name} has no part in {kind}; leave it out.")
        check(self.backbone_rate == 1.0, f"training.backbone_rate has no part in {kind}; leave it out.")

    def check(self) -> None:
        check_range("training.epochs", self.epochs, 1, _MOST_STEPS)
        check_range("training.batch_size", self.batch_size, 1, _MOST_EXAMPLES)
        check(0 < self.learning_rate <= 100, f"training.learning_rate must be in (0, 100], not {self.learning_rate}.")
        check(0 < self.backbone_rate <= 1, f"training.backbone_rate must be in (0, 1], not {self.backbone_rate}.")
        for name in ("warmup_fraction", "label_smoothing", "swa_fraction"):
            check(0 <= getattr(self, name) < 1, f"training.{name} must be in [0, 1), not {getattr(self, name)}.")
        check_range("training.weight_decay", self.weight_decay, 0, 100)
        check_range("training.early_stopping_patience", self.early_stopping_patience, 0, _MOST_STEPS)
        check_range("training.seed", self.seed, 0, _MOST_SEEDS - 1)
        self._check_averaging()
        self._check_distillation()

    def _check_averaging(self) -> None:
        check(0 < self.swa_rate <= 1, f"training.swa_rate must be in (0, 1], not {self.swa_rate}.")
        check(
            self.warmup_fraction + self.swa_fraction < 1,
            f"training.warmup_fraction {self.warmup_fraction} and training.swa_fraction {self.swa_fraction} leave no "
            "epoch between them; lower one.",
        )
        check(
            not (self.swa_fraction and self.early_stopping_patience),
            "training.early_stopping_patience and training.swa_fraction exclude each other: a mean of the last epochs "
            "needs all of them; set one to 0.",
        )

    def _check_distillation(self) -> None:
        check(
            0 < self.distillation_weight <= 1,
            f"training.distillation_weight must be in (0, 1], not {self.distillation_weight}.",
        )
        check_range("training.distillation_temperature", self.distillation_temperature, 0.1, 100)
        check(
            not (self.teacher and self.shuffle_labels),
            "training.shuffle_labels is a control, which a teacher who knows the true labels would spoil; leave "
            "training.teacher (--teacher) out.",
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """All settings of a training run; stored in its folder."""

    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    text: TextConfig = field(default_factory=TextConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    @property
    def multi_label(self) -> bool:
        """Whether a recording may have several classes, and each is judged by itself."""
        return self.model.score_activation == "sigmoid"

    def for_labels(self, *, multi_label: bool) -> RunConfig:
        """Returns the settings as a data set needs them: its recordings have several classes, or one each."""
        return self.override({"model.score_activation": "sigmoid"}) if multi_label else self

    def check(self) -> None:
        check(
            not (self.text.length and self.front_end.learnt),
            "text.length must be 0 where the front end is learnt: a model of sound and text takes features whose zeros "
            "say that there is no sound.",
        )
        check(
            not (self.text.length and self.multi_label),
            "text.length must be 0 where recordings have several classes: what a text is worth is told in accuracy, "
            "which they have none of.",
        )
        check(
            not self.augment.between_class.probability or self.clip.seconds is not None,
            "augment.between_class.probability must be 0 where clip.seconds is null: recordings of different lengths "
            "are not mixed before their features are made; use augment.mixup_alpha.",
        )
        if not (self.front_end.standardized and self.front_end.spans_frequency):
            self._check_augmentation_of_other_features()

    def _check_augmentation_of_other_features(self) -> None:
        """What is made for standardised features over frequency would spoil all others in silence."""
        front_end, augment = self.front_end, self.augment
        where, why = "where the front end is learnt", "it changes features that are made in the model only"
        unfit: dict[str, float] = {"filter_augment.probability": augment.filter_augment.probability}
        if front_end.takes_steps:
            unfit |= {"frequency_shift": augment.frequency_shift, "time_warp": augment.time_warp}
            if not front_end.learnt:
                where = "for front_end.feature 'waveform'"
        elif front_end.standardized:
            where = f"for front_end.feature '{front_end.feature}'{' with deltas' * bool(front_end.deltas)}"
            why = "it takes neighbouring bins for neighbouring frequencies"
            unfit["frequency_shift"] = augment.frequency_shift
        elif not front_end.learnt:
            where, why = "without front_end.standardize", "it takes 0 for the mean of every bin"
            unfit |= {name: getattr(augment, name) for name in ("time_masks", "frequency_masks", "frequency_shift")}
        for name, value in unfit.items():
            check(not value, f"augment.{name} must be 0 {where}, not {value}: {why}.")
