"""tf.data pipelines: recordings to batches of features, for training and for measuring.

A training epoch is a pure function of (seed, epoch): a run that is killed and resumed sees the very batches it
would have seen, and the number of parallel calls changes nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfaudio.audio.framing import fix_length, windows
from tfaudio.augment.inputs import drop_inputs
from tfaudio.augment.mixing import Examples, between_class_mix, mix_examples
from tfaudio.augment.seeds import Change, fold_in, split_seed
from tfaudio.augment.spectrogram import change_features, spec_augment
from tfaudio.augment.waveform import WaveformAugmentation, random_start
from tfaudio.config import RunConfig
from tfaudio.data.augmentation import waveform_augmentation
from tfaudio.data.recordings import Recordings, parallel_calls, untuned
from tfaudio.features.family import smallest_deviations
from tfaudio.features.front_end import compute_features, without_silence
from tfaudio.features.normalization import Normalization, NormalizationFitter
from tfaudio.terminal import native_messages_hidden


class Pipeline:
    """Makes datasets from recordings under one configuration.

    Args:
      recordings: every usable clip.
      targets: int64 [clips], the class of each; or float32 [clips, classes], 1 for each of its classes.
      num_classes: size of a target.
      config: front end, clip, augmentation, batch size and seed are used.
      normalization: of the features.
      tokens: int32 [clips, config.text.length], what is written about each clip; None leaves texts out.

    The datasets give (inputs, targets): inputs are features float32 [batch, frames, bins]; or a dict of "features" with
    "mask" (boolean [batch, frames]) where config.clip.seconds is None, and with "tokens" where there are some.
    """

    def __init__(
        self,
        recordings: Recordings,
        targets: np.ndarray,
        num_classes: int,
        config: RunConfig,
        normalization: Normalization | None = None,
        tokens: np.ndarray | None = None,
    ) -> None:
        self.recordings = recordings
        self.config = config
        self.normalization = normalization
        self.num_classes = num_classes
        self._augment = config.augment
        if config.front_end.takes_steps:
            self._augment = config.augment.replace(frequency_masks=0)
        self._multi_hot = targets.ndim == 2
        self._targets = tf.constant(targets, tf.float32 if self._multi_hot else tf.int64)
        self._tokens = None if tokens is None else tf.constant(tokens, tf.int32)
        self._load = recordings.waveform_loader()
        self._calls = parallel_calls(config.data)
        self._masked = config.clip.seconds is None
        rate = config.front_end.sample_rate
        self._num_samples = None if self._masked else config.clip.num_samples(rate)
        # Compiled, the whole front end runs as one loop over the batch, in two thirds of the time; it needs shapes
        # that do not change from batch to batch.
        self._features = tf.function(self._compute_features, jit_compile=not self._masked)
        if not self._masked:
            _start_compiler()

    def _compute_features(self, waveforms: tf.Tensor) -> tf.Tensor:
        # Recordings were checked when they were read; augmentation may go beyond what they may hold.
        features = compute_features(waveforms, self.config.front_end, self.normalization, check_values=False)
        return without_silence(features, waveforms) if self._tokens is not None else features

    def steps_per_epoch(self, num_examples: int) -> int:
        """Whole batches in an epoch; at least one."""
        return max(1, num_examples // self.batch_size(num_examples))

    def batch_size(self, num_examples: int) -> int:
        """The configured batch size, or all examples where there are fewer."""
        return max(1, min(self.config.training.batch_size, num_examples))

    def training(
        self, indices: np.ndarray, *, first_epoch: int = 0, class_weights: np.ndarray | None = None
    ) -> tf.data.Dataset:
        """Returns all remaining epochs, one after the other, augmented; of known cardinality.

        Targets are one-hot (or multi-hot) float32 [batch, classes], mixed where examples are; with class_weights a
        third element, float32 [batch], weighs each example by the mean over its classes.

        Raises:
          TfaudioError: if recordings that augmentation needs cannot be used.
        """
        training = self.config.training
        batch, steps = self.batch_size(len(indices)), self.steps_per_epoch(len(indices))
        order = tf.constant(indices, tf.int64)
        weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        augmentation = waveform_augmentation(self.config)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = tf.stack([tf.cast(training.seed, tf.int64), number])
            # Indices are shuffled, not examples: a perfect shuffle that holds no audio in a buffer.
            shuffled = tf.random.experimental.stateless_shuffle(order, epoch_seed)
            dataset = tf.data.Dataset.from_tensor_slices(shuffled)
            # In order although parallel, so that a seed gives the same batches on any machine.
            dataset = dataset.map(
                lambda index: self._training_example(index, epoch_seed, augmentation),
                num_parallel_calls=self._calls,
            )
            # Whole batches only: replicas need equal shares.
            dataset = (dataset.padded_batch if self._masked else dataset.batch)(batch, drop_remainder=True)
            dataset = dataset.enumerate()  # the step's number goes into its seed
            return dataset.map(
                lambda step, batch: self._training_batch(batch, fold_in(epoch_seed, step), weights),
                num_parallel_calls=self._calls,  # features of a batch at a time: cheaper than clip by clip
            )

        epochs = tf.data.Dataset.range(first_epoch, training.epochs).flat_map(epoch)
        cardinality = max(0, training.epochs - first_epoch) * steps
        # Keras counts a step too many where it does not know the number.
        epochs = epochs.apply(tf.data.experimental.assert_cardinality(cardinality))
        return untuned(epochs).prefetch(4)  # the next batches are made while a step computes

    def pairs(self, indices: np.ndarray, *, num_samples: int, first_epoch: int = 0) -> tf.data.Dataset:
        """Returns all remaining epochs of two views of each recording: cut anywhere and augmented, each by itself.

        Args:
          indices: of the recordings.
          num_samples: length of a view, at most that of a window.
          first_epoch: number of the epoch to begin with.

        Returns:
          features float32 [2 * batch, frames, bins], of which rows 2 i and 2 i + 1 are of one recording, and zeros
          float32 [2 * batch], since a loss takes targets.
        """
        training, batch = self.config.training, self.batch_size(len(indices))
        order = tf.constant(indices, tf.int64)
        augmentation = waveform_augmentation(self.config)

        def view(index: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            waveform, *_ = self._training_example(index, seed, augmentation)
            start = random_start(tf.shape(waveform)[0], num_samples, fold_in(seed, index))
            return fix_length(waveform, num_samples, short=self.config.clip.short, start=start)

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = tf.stack([tf.cast(training.seed, tf.int64), number])
            seeds = split_seed(epoch_seed, 2)
            dataset = tf.data.Dataset.from_tensor_slices(tf.random.experimental.stateless_shuffle(order, epoch_seed))
            dataset = dataset.map(
                lambda index: tf.stack([view(index, seed) for seed in seeds]), num_parallel_calls=self._calls
            )
            return (
                dataset.batch(batch, drop_remainder=True)
                .enumerate()
                .map(
                    lambda step, views: self._pair_batch(views, fold_in(epoch_seed, step)),
                    num_parallel_calls=self._calls,
                )
            )

        epochs = tf.data.Dataset.range(first_epoch, training.epochs).flat_map(epoch)
        cardinality = max(0, training.epochs - first_epoch) * self.steps_per_epoch(len(indices))
        return untuned(epochs.apply(tf.data.experimental.assert_cardinality(cardinality))).prefetch(4)

    def evaluation(self, indices: np.ndarray, *, with_targets: bool = False) -> tf.data.Dataset:
        """Returns the given clips in order, not augmented, whole: every clip gives all its windows.

        The second element is the clip's position in `indices`, int64 [batch], or with `with_targets` its one-hot
        target float32 [batch, classes].
        """
        batch = self.config.training.batch_size
        positions = tf.data.Dataset.from_tensor_slices((np.arange(len(indices), dtype=np.int64), indices))
        dataset = positions.map(self._evaluation_example, num_parallel_calls=self._calls)
        # Windows of several clips share a batch, so that short clips fill it too.
        dataset = dataset.padded_batch(batch) if self._masked else dataset.rebatch(batch)
        one_hot = self._one_hot_of(indices)
        texts = None if self._tokens is None else tf.gather(self._tokens, indices)

        def finish(examples: tf.Tensor, position: tf.Tensor, length: tf.Tensor) -> tuple[Any, tf.Tensor]:
            features, mask = self._features_and_mask(examples, length)
            inputs = _inputs(features, mask, None if texts is None else tf.gather(texts, position))
            return inputs, tf.gather(one_hot, position) if with_targets else position

        dataset = dataset.map(finish, num_parallel_calls=self._calls)
        examples = int(self.num_windows(indices).sum())
        # Keras takes a data set of unknown length for one that ended too soon, and says so.
        return untuned(dataset.apply(tf.data.experimental.assert_cardinality(-(-examples // batch)))).prefetch(2)

    def num_windows(self, indices: np.ndarray) -> np.ndarray:
        """Returns how many windows each of the given clips has, int64 [n]; 1 where clips are taken whole."""
        if self._masked:
            return np.ones(len(indices), np.int64)
        return self.config.clip.num_windows(self.recordings.lengths[indices], self.config.front_end.sample_rate)

    def waveform_windows(self, index: int) -> np.ndarray:
        """Returns the windows of one clip, float32 [windows, samples]: what an exported model is given."""
        waveform = self._load(tf.constant(index, tf.int64))
        return (waveform[None] if self._masked else self._windows(waveform)).numpy()

    def fit_normalization(self, indices: np.ndarray) -> Normalization:
        """Takes mean and deviation of each bin from the given clips, which should be the training clips.

        There are none where config.front_end.standardized does not hold: a learnt front end standardises what it makes.

        Raises:
          ValueError: if this pipeline's features are standardised already.
        """
        if self.normalization:
            raise ValueError("The features are standardised already; fit on a pipeline without normalization.")
        if not self.config.front_end.standardized:
            return Normalization()
        fitter = NormalizationFitter(smallest_deviations(self.config.front_end))
        for inputs, _ in self.evaluation(indices).as_numpy_iterator():
            features = inputs["features"][inputs["mask"]] if self._masked else inputs
            fitter.add(features)
        return fitter.result()

    def _one_hot_of(self, indices: np.ndarray) -> tf.Tensor:
        targets = tf.gather(self._targets, indices)
        return targets if self._multi_hot else tf.one_hot(targets, self.num_classes)

    def _windows(self, waveform: tf.Tensor) -> tf.Tensor:
        clip, rate = self.config.clip, self.config.front_end.sample_rate
        return windows(
            waveform,
            num_samples=clip.num_samples(rate),
            hop=clip.hop_samples(rate),
            num_windows=clip.num_windows(tf.shape(waveform)[0], rate),
            short=clip.short,
        )

    def _training_example(
        self, index: tf.Tensor, epoch_seed: tf.Tensor, augmentation: WaveformAugmentation
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One augmented example, its clip's index and its length."""
        crop_seed, augment_seed = split_seed(fold_in(epoch_seed, index + 2**20), 2)  # apart from the batches' seeds
        waveform = self._load(index)
        if self._num_samples is not None:
            start = None
            if self.config.augment.random_crop:
                start = random_start(tf.shape(waveform)[0], self._num_samples, crop_seed)
            waveform = fix_length(waveform, self._num_samples, short=self.config.clip.short, start=start)
        waveform = augmentation(waveform, augment_seed)
        example, length = self._example(waveform)
        return example, index, length

    def _example(self, waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What a batch is made of, and its length: windows as they are, or the features of a recording taken whole.

        Of windows a whole batch is transformed at once. A recording's features are made before it is padded, since
        some of them (a difference over frames, say) would see the padding at its end.
        """
        example = self._compute_features(waveform) if self._masked else waveform
        return example, tf.shape(example)[0]

    def _evaluation_example(self, position: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        waveform = self._load(index)
        if self._masked:
            example, length = self._example(waveform)
            return example, position, length
        cut = self._windows(waveform)
        count = tf.shape(cut)[0]
        return cut, tf.repeat(position, count), tf.fill([count], tf.constant(self._num_samples, tf.int32))

    def _features_and_mask(self, examples: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Features, and their mask where recordings are taken whole, of a batch of what `_example` gives."""
        if not self._masked:
            return self._features(examples), None
        return examples, tf.sequence_mask(lengths, tf.shape(examples)[1])

    def _training_batch(
        self, batch: tuple[tf.Tensor, ...], seed: tf.Tensor, class_weights: tf.Tensor | None
    ) -> tuple[Any, ...]:
        examples, indices, lengths = batch
        tokens = None if self._tokens is None else tf.gather(self._tokens, indices)
        mix_seed, mask_seed = split_seed(seed, 2)
        augment = self._augment
        targets = self._one_hot_of(indices)
        if augment.between_class.probability:
            mix = fold_in(seed, Change.BETWEEN_CLASS)
            examples, targets = between_class_mix(examples, targets, augment.between_class, mix)
        features, mask = self._features_and_mask(examples, lengths)
        features = change_features(features, mask, augment, seed)
        mixed = mix_examples(Examples(features, targets, mask, tokens), augment, mix_seed, seed)
        features, targets, mask, tokens = mixed
        features = spec_augment(features, augment, mask_seed, mask)
        if tokens is not None:
            features, tokens = drop_inputs(features, tokens, self.config.text, seed)
        inputs = _inputs(features, mask, tokens)
        if class_weights is None:
            return inputs, targets
        weights = tf.linalg.matvec(targets, class_weights)
        if self._multi_hot:
            weights /= tf.reduce_sum(targets, axis=1)
        return inputs, targets, weights

    def _pair_batch(self, views: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        change_seed, mask_seed = split_seed(seed, 2)
        features = self._features(tf.reshape(views, [-1, views.shape[-1]]))
        features = change_features(features, None, self._augment, change_seed)
        return spec_augment(features, self._augment, mask_seed), tf.zeros(tf.shape(features)[:1])


def _inputs(features: tf.Tensor, mask: tf.Tensor | None, tokens: tf.Tensor | None) -> Any:
    """What a classifier takes: features, or a dict of them and what goes with them."""
    beside = {"mask": mask, "tokens": tokens}
    given = {name: tensor for name, tensor in beside.items() if tensor is not None}
    return {"features": features, **given} if given else features


@functools.cache
def _start_compiler() -> None:
    """Makes XLA say once, unheard, that it has started; it would in the middle of a progress bar."""
    with native_messages_hidden():
        tf.function(tf.identity, jit_compile=True)(0.0)
