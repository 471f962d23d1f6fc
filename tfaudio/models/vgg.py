"""The plain convolutional networks of PANNs: stacks of convolutions, and average pooling between them."""

from __future__ import annotations

import keras
from keras import layers, ops

from tfaudio.models.layers import (
    HEADS,
    apply_mask,
    average_pool,
    batch_norm,
    check_choice,
    check_share,
    check_width,
    conv_unit,
    model_inputs,
    pool_frames,
    scaled,
    to_logits,
)
from tfaudio.models.registry import MODELS


@MODELS.register("cnn6")
def cnn6(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    head: str = "mean_max",
    dropout: float = 0.2,
    embedding_dropout: float = 0.2,
) -> keras.Model:
    """Builds CNN6: four 5x5 convolutions, and an embedding of 512. 4.8 million parameters with 527 classes.

    Args:
      input_shape: (frames, bins); published with 64 bins.
      num_classes: size of the output.
      masked: also take a mask [batch, frames].
      width: factor of all channels and of the embedding.
      head: how frames become one: "mean_max", "mean", "max", "attention", "auto" or "class_attention"
        (`layers.pool_frames`).
      dropout: share dropped after each block.
      embedding_dropout: share dropped before and after the embedding. PANNs has 0.5, for two million clips; with that,
        a small set is hardly learnt in a few epochs.

    Returns:
      Model from features [batch, frames, bins] to logits [batch, num_classes].

    Size (`tfaudio models`): 4,572,234 parameters, 1,582.7 million multiplications for 5 s.

    Source: Q. Kong et al., PANNs (2020), https://arxiv.org/abs/1912.10211.
    """
    return _panns(
        "cnn6",
        (64, 128, 256, 512),
        input_shape=input_shape,
        num_classes=num_classes,
        masked=masked,
        kernel=5,
        convolutions=1,
        width=width,
        head=head,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
    )


@MODELS.register("cnn10")
def cnn10(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    head: str = "mean_max",
    dropout: float = 0.2,
    embedding_dropout: float = 0.2,
) -> keras.Model:
    """Builds CNN10: four pairs of 3x3 convolutions, and an embedding of 512. 5.2 million parameters with 527 classes.

    Arguments, result and source are those of `cnn6`: Q. Kong et al. (2020), https://arxiv.org/abs/1912.10211.

    Size (`tfaudio models`): 4,954,058 parameters, 2,068.1 million multiplications for 5 s.
    """
    return _panns(
        "cnn10",
        (64, 128, 256, 512),
        input_shape=input_shape,
        num_classes=num_classes,
        masked=masked,
        kernel=3,
        convolutions=2,
        width=width,
        head=head,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
    )


@MODELS.register("cnn14")
def cnn14(
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool = False,
    width: float = 1.0,
    head: str = "mean_max",
    dropout: float = 0.2,
    embedding_dropout: float = 0.2,
) -> keras.Model:
    """Builds CNN14: six pairs of 3x3 convolutions, and an embedding of 2048. 80.8 million parameters with 527 classes.

    Arguments, result and source are those of `cnn6`: Q. Kong et al. (2020), https://arxiv.org/abs/1912.10211.

    Size (`tfaudio models`): 79,694,282 parameters, 3,204.5 million multiplications for 5 s.
    """
    return _panns(
        "cnn14",
        (64, 128, 256, 512, 1024, 2048),
        input_shape=input_shape,
        num_classes=num_classes,
        masked=masked,
        kernel=3,
        convolutions=2,
        width=width,
        head=head,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
    )


def _panns(
    name: str,
    channels: tuple[int, ...],
    *,
    input_shape: tuple[int | None, int],
    num_classes: int,
    masked: bool,
    kernel: int,
    convolutions: int,
    width: float,
    head: str,
    dropout: float,
    embedding_dropout: float,
) -> keras.Model:
    check_width(name, width, lowest=0.05, highest=4)
    check_choice(name, HEADS, head=head)
    check_share(name, dropout=dropout, embedding_dropout=embedding_dropout)
    inputs, x, mask = model_inputs(input_shape, masked=masked)
    x = apply_mask(batch_norm(x, mask), mask)  # of each bin
    x = layers.Reshape((-1, input_shape[1], 1))(x)
    for index, count in enumerate(channels):
        for _ in range(convolutions):
            x, mask = conv_unit(x, mask, filters=scaled(count, width), kernel=kernel)
        if index < 5:  # the sixth block of CNN14 keeps frames and bins
            x, mask = average_pool(x, mask)
        x = layers.Dropout(dropout)(x)
    x = pool_frames(ops.mean(x, axis=2), mask, head)
    x = layers.Dropout(embedding_dropout)(x)
    x = layers.Dense(scaled(channels[-1], width), activation="relu", name="embedding")(x)
    logits = to_logits(x, mask, num_classes=num_classes, dropout=embedding_dropout)
    return keras.Model(inputs, logits, name=name)
