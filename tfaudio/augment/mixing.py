"""Mixing the examples of a batch, and their targets. Stateless, as the waveform's changes.

A target is a row of shares, one for each class: one-hot, or multi-hot where a recording has several labels. A
mixture's target is the mixture of the targets by the same shares, in both cases: what a class has of the label is what
its example has of the sound. (A union of multi-hot targets would ask for certainty of a sound that is a hundredth of
the mixture; AudioSet's best classifiers are trained with shares too, as Y. Gong et al., PSLA, 2021.) Every rule here is
linear in the targets, so that one may follow another. A batch is shuffled, so an example's neighbour is a random
partner.

Texts are not mixed: a mixture has the text of whichever example is the larger part of it, since two titles one after
the other are no title.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfaudio.augment.seeds import Change, fold_in, split_seed
from tfaudio.config import AugmentConfig
from tfaudio.config.augment import BetweenClassConfig, CutMixConfig, SameClassConfig

_QUIETEST = 1e-5  # root mean square; what is below it counts as silence


class Examples(NamedTuple):
    """A batch.

    Args:
      features: float32 [batch, frames, bins], 0 where there is no audio.
      targets: float32 [batch, classes].
      mask: boolean [batch, frames], true where there is audio, at the front of each row; None: everywhere.
      tokens: int32 [batch, length], of the texts; None: there are none.
    """

    features: tf.Tensor
    targets: tf.Tensor
    mask: tf.Tensor | None
    tokens: tf.Tensor | None = None


def mix_examples(examples: Examples, config: AugmentConfig, mixup_seed: Any, seed: Any) -> Examples:
    """Applies the mixtures of a configuration.

    Within a class first, while targets still tell classes apart; mixup last, so that what CutMix joined is mixed whole.

    Args:
      examples: a batch, of targets not mixed yet.
      config: same_class, cutmix and mixup are used.
      mixup_seed: integer [2], of mixup's shares.
      seed: integer [2], of all else.
    """
    if config.same_class.probability:
        examples = same_class_mix(examples, config.same_class, fold_in(seed, Change.SAME_CLASS))
    if config.cutmix.probability:
        examples = cutmix(examples, config.cutmix, fold_in(seed, Change.CUTMIX))
    if config.mixup_alpha and config.mixup_probability:
        choice_seed = fold_in(seed, Change.MIXUP_CHOICE)
        examples = mixup(examples, config.mixup_alpha, config.mixup_probability, mixup_seed, choice_seed)
    return examples


def between_class_mix(
    waveforms: tf.Tensor, targets: tf.Tensor, config: BetweenClassConfig, seed: Any
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes the waveforms of a share of the examples with their neighbours', and their targets likewise.

    Who listens judges what there is more of by amplitude, so an example's share of the target is its share of the
    amplitude: the louder of the two is turned down first. The mixture is as loud as its parts where they are alike.

    Args:
      waveforms: float32 [batch, samples].
      targets: float32 [batch, classes].
      config: the share, and how much of the neighbour is taken.
      seed: integer [2].

    Returns:
      The same, mixed; an example's own share is at least one half.

    Source: Y. Tokozume et al., Learning from Between-Class Examples for Deep Sound Recognition (2018),
    https://arxiv.org/abs/1711.10282, with the root mean square in place of A-weighted levels.
    """
    part_seed, choice_seed = split_seed(seed, 2)
    part = _main_part(tf.shape(waveforms)[0], config.alpha, part_seed)
    part = tf.where(_chosen(part, config.probability, choice_seed), part, 1.0)
    return _equally_loud_mixture(waveforms, part), _mixed_targets(targets, part)


def _equally_loud_mixture(waveforms: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    # Outside of what is compiled: the compiler adds up one number after the other.
    level = tf.norm(waveforms, axis=1) / tf.sqrt(tf.cast(tf.shape(waveforms)[1], tf.float32))
    neighbours = tf.roll(level, 1, axis=0)
    # Beside silence nothing is turned down: else little would be left of what is heard.
    ratio = tf.where(tf.minimum(level, neighbours) > _QUIETEST, level / tf.maximum(neighbours, _QUIETEST), 1.0)
    own = part / (part + (1.0 - part) * ratio)
    norm = tf.sqrt(own**2 + (1.0 - own) ** 2)
    return _sum_with_neighbours(waveforms, own / norm, (1.0 - own) / norm)


@tf.function(jit_compile=True)  # one pass over ten megabytes in place of four
def _sum_with_neighbours(waveforms: tf.Tensor, own: tf.Tensor, neighbours: tf.Tensor) -> tf.Tensor:
    return own[:, None] * waveforms + neighbours[:, None] * tf.roll(waveforms, 1, axis=0)


def mixup(examples: Examples, alpha: float, probability: float, seed: Any, choice_seed: Any) -> Examples:
    """Mixes a share of the examples with their neighbours, and their targets likewise.

    Args:
      examples: a batch; a mixture has audio where either of the two has.
      alpha: the examples' parts are drawn from Beta(alpha, alpha) and taken as at least one half.
      probability: that share.
      seed: integer [2], of the parts.
      choice_seed: integer [2], of who is mixed.

    Source: H. Zhang et al., mixup (2018), https://arxiv.org/abs/1710.09412.
    """
    part = _main_part(tf.shape(examples.features)[0], alpha, seed)
    partner = Examples(*(None if x is None else tf.roll(x, 1, axis=0) for x in examples))
    if probability < 1:
        part, partner = _where_chosen(_chosen(part, probability, choice_seed), part, partner)
    features, mask = _mixed(examples, partner, part)
    targets = _mixed_targets(examples.targets, part)
    return Examples(features, targets, mask, examples.tokens)  # its part is the larger


def same_class_mix(examples: Examples, config: SameClassConfig, seed: Any) -> Examples:
    """Mixes a share of the examples with another that shares a class, where the batch has one.

    The target of a class that both have stays, and so all of it where examples have one class each; of what one alone
    has, the target is its share.

    Args:
      examples: a batch, of targets not mixed yet.
      config: the share, and how much of the partner is taken.
      seed: integer [2].
    """
    part_seed, choice_seed = split_seed(seed, 2)
    part = _main_part(tf.shape(examples.features)[0], config.alpha, part_seed)
    partners = next_alike(examples.targets)
    partner = Examples(*(None if x is None else tf.gather(x, partners) for x in examples))
    part, partner = _where_chosen(_chosen(part, config.probability, choice_seed), part, partner)
    features, mask = _mixed(examples, partner, part)
    others = (1.0 - part)[:, None] * (partner.targets - examples.targets)  # in this form, nothing of what both have
    return Examples(features, examples.targets + others, mask, examples.tokens)


def cutmix(examples: Examples, config: CutMixConfig, seed: Any) -> Examples:
    """Puts a stretch of the neighbour's frames in place of an example's own, in a share of the examples.

    The stretch lies where both have audio and stays at its place, so an example keeps its length, and no silence beyond
    the end of either gets in. The neighbour's target counts by its share of the frames with audio.

    Args:
      examples: a batch.
      config: the share, and how long the stretches are.
      seed: integer [2].

    Source: S. Yun et al., CutMix (2019), https://arxiv.org/abs/1905.04899, along time alone.
    """
    part_seed, choice_seed, start_seed = split_seed(seed, 3)
    features, targets, mask, tokens = examples
    shape = tf.shape(features)
    own = tf.fill([shape[0]], shape[1]) if mask is None else tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    common = tf.minimum(own, tf.roll(own, 1, axis=0))
    taken = 1.0 - _beta(shape[0], config.alpha, part_seed)
    taken = tf.where(_chosen(taken, config.probability, choice_seed), taken, 0.0)
    width = tf.cast(tf.round(taken * tf.cast(common, tf.float32)), tf.int32)
    room = tf.cast(common - width + 1, tf.float32)
    start = tf.cast(tf.random.stateless_uniform([shape[0]], start_seed) * room, tf.int32)
    start = tf.minimum(start, common - width)  # a draw next to 1 may be rounded up
    frame = tf.range(shape[1])
    inside = (frame >= start[:, None]) & (frame < (start + width)[:, None])
    share = tf.math.divide_no_nan(tf.cast(width, tf.float32), tf.cast(own, tf.float32))[:, None]
    return Examples(
        tf.where(inside[:, :, None], tf.roll(features, 1, axis=0), features),
        (1.0 - share) * targets + share * tf.roll(targets, 1, axis=0),
        mask,
        None if tokens is None else tf.where(share > 0.5, tf.roll(tokens, 1, axis=0), tokens),
    )


def next_alike(targets: tf.Tensor) -> tf.Tensor:
    """Finds for each example the next one that shares a class, the first following the last.

    Args:
      targets: float32 [batch, classes], above 0 where an example has the class.

    Returns:
      int32 [batch]; an example that shares none is its own.

    >>> next_alike(tf.one_hot([2, 0, 2, 1, 2], 3)).numpy().tolist()
    [2, 1, 4, 3, 0]
    """
    batch = tf.shape(targets)[0]
    # One row a class and example that has it, by class; no matrix of all pairs of examples: a batch may be large.
    kind, example = tf.unstack(tf.cast(tf.where(tf.transpose(targets) > 0), tf.int32), axis=1)
    first_of_kind = tf.searchsorted(kind, kind)
    is_last = tf.concat([kind[1:] != kind[:-1], [True]], axis=0)
    following = tf.gather(example, tf.where(is_last, first_of_kind, tf.range(tf.size(kind)) + 1))
    between = tf.math.floormod(following - example - 1, batch)  # the example itself is the farthest
    fewest = tf.minimum(tf.math.unsorted_segment_min(between, example, batch), batch - 1)
    return (tf.range(batch) + 1 + fewest) % batch


def _mixed_targets(targets: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    """Targets of mixtures with the neighbours, in which the examples have the given parts, float32 [batch]."""
    narrow = part[:, None]
    return narrow * targets + (1.0 - narrow) * tf.roll(targets, 1, axis=0)


def _mixed(examples: Examples, partner: Examples, part: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Features and mask of the mixtures in which the examples have the given parts, float32 [batch]."""
    wide = part[:, None, None]
    features = wide * examples.features + (1.0 - wide) * partner.features
    if examples.mask is None:
        return features, None
    return features, examples.mask | partner.mask


def _where_chosen(chosen: tf.Tensor, part: tf.Tensor, partner: Examples) -> tuple[tf.Tensor, Examples]:
    """Takes nothing of the partner, nor its audio's extent, where an example was not chosen, boolean [batch]."""
    mask = None if partner.mask is None else partner.mask & chosen[:, None]
    return tf.where(chosen, part, 1.0), partner._replace(mask=mask)


def _chosen(like: tf.Tensor, probability: float, seed: Any) -> tf.Tensor:
    return tf.random.stateless_uniform(tf.shape(like), seed) < probability


def _beta(count: tf.Tensor, alpha: float, seed: Any) -> tf.Tensor:
    """Draws from Beta(alpha, alpha), float32 [count]."""
    gammas = tf.random.stateless_gamma([2, count], seed, alpha=alpha) + 1e-9  # two zeros would divide to NaN
    return gammas[0] / (gammas[0] + gammas[1])


def _main_part(count: tf.Tensor, alpha: float, seed: Any) -> tf.Tensor:
    """Draws an example's own part in a mixture, at least one half, so that its place in the batch decides."""
    part = _beta(count, alpha, seed)
    return tf.maximum(part, 1.0 - part)
