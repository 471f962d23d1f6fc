"""One epoch of `cnn` on log-mel arrays in memory, by Keras and by PyTorch; each in a process of its own (worker.py).

Both have the same layers, start from the same weights, and take the same steps of AdamW on smoothed labels; before they
are timed, their logits are compared with a float64 reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from log_mel_contestants import _versions

Case = dict[str, Any]
Array = npt.NDArray[np.float32]
_FILTERS = (32, 64, 128, 192)  # of `cnn`
_EPSILON = 1e-3  # of Keras' batch normalisation
_SMOOTHING = 0.1
_RATE, _DECAY = 1e-3, 0.02
_CHECKED = 4  # clips


def features(case: Case) -> tuple[Array, Array]:
    """Standardised spectrograms [clips, frames, bins] and their one-hot classes."""
    random = np.random.default_rng(0)
    spectrograms = random.standard_normal((case["clips"], case["frames"], case["bins"]), np.float32)
    return spectrograms, np.eye(case["classes"], dtype=np.float32)[random.integers(case["classes"], size=case["clips"])]


def weights(case: Case) -> list[Array]:
    """Kernel (height, width, in, out), scale, offset, mean, variance of each convolution; kernel and bias last."""
    random = np.random.default_rng(1)
    drawn, inputs = [], 1
    for number, filters in enumerate(_FILTERS):
        size = 5 if number == 0 else 3
        drawn.append(random.normal(scale=(2 / (size * size * inputs)) ** 0.5, size=(size, size, inputs, filters)))
        drawn += [1 + 0.1 * random.standard_normal(filters), 0.1 * random.standard_normal(filters)]
        drawn += [0.1 * random.standard_normal(filters), 1 + 0.1 * random.random(filters)]
        inputs = filters
    drawn += [random.normal(scale=inputs**-0.5, size=(inputs, case["classes"])), np.zeros(case["classes"])]
    return [array.astype(np.float32) for array in drawn]


def reference(case: Case) -> npt.NDArray[np.float64]:
    """The logits of the first clips, in float64."""
    x = features(case)[0][:_CHECKED, :, :, None].astype(np.float64)
    *layers, kernel, bias = [array.astype(np.float64) for array in weights(case)]
    for number in range(len(_FILTERS)):
        filters, scale, offset, mean, variance = layers[5 * number : 5 * number + 5]
        if number:
            x = np.pad(x, [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)])
            x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max(axis=(2, 4))
        size, stride = len(filters), 1 if number else 2
        x = np.pad(x, [(0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
        x = np.einsum("bfncij,ijco->bfno", windows, filters, optimize=True)
        x = np.maximum((x - mean) / np.sqrt(variance + _EPSILON) * scale + offset, 0)
    x = x.mean(axis=2)
    return (x.mean(axis=1) + x.max(axis=1)) @ kernel + bias


class Contestant:
    """Trains an epoch at a time.

    Args:
      versions: of the libraries that do the work.
      run: one epoch.
      logits: those of the first clips, before the first epoch.
      case: the sizes.
    """

    def __init__(self, versions: dict[str, str], run: Callable[[], Any], logits: Any, case: Case) -> None:
        self.versions = versions
        self.run = run
        self._difference = float(np.abs(np.asarray(logits, np.float64) - reference(case)).max())

    def check(self) -> float:
        """Returns the largest difference of the logits."""
        return self._difference


def tfaudio_fit(case: Case) -> Contestant:
    """Keras' fit on the model that the package registers, as the trainer calls it."""
    import keras
    import tensorflow as tf

    import tfaudio
    from tfaudio.config import ModelConfig, TrainingConfig
    from tfaudio.models.registry import build_model
    from tfaudio.training.optimizer import make_optimizer

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    spectrograms, targets = features(case)
    shape = (None, case["bins"])
    model = build_model(ModelConfig(name="cnn"), input_shape=shape, num_classes=case["classes"], masked=False)
    model.set_weights(weights(case))
    logits = model(spectrograms[:_CHECKED], training=False).numpy()
    batch = case["batch"]
    steps = len(spectrograms) // batch
    config = TrainingConfig(learning_rate=_RATE, weight_decay=_DECAY)
    model.compile(
        make_optimizer(config, total_steps=1000 * steps),
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=_SMOOTHING),
        metrics=["accuracy"],
    )
    dataset = tf.data.Dataset.from_tensor_slices((spectrograms, targets)).shuffle(len(spectrograms), seed=0)
    dataset = dataset.batch(batch, drop_remainder=True).prefetch(2)
    return Contestant(_versions(tfaudio, tf, keras), lambda: model.fit(dataset, verbose=0), logits, case)


def torch_loop(case: Case, *, channels_last: bool = False) -> Contestant:
    """The same layers in PyTorch, in its usual loop, with images in the order given."""
    import torch

    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    spectrograms, targets = (torch.from_numpy(array) for array in features(case))
    model = _torch_cnn(case)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    model.eval()
    with torch.no_grad():
        logits = model(spectrograms[:_CHECKED]).numpy()
    model.train()
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=_SMOOTHING)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=_DECAY)
    batch = case["batch"]

    def batches() -> Iterator[Any]:
        order = torch.randperm(len(spectrograms))
        for start in range(0, len(order) - batch + 1, batch):
            yield order[start : start + batch]

    def run() -> None:
        for chosen in batches():
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(spectrograms[chosen]), targets[chosen]).backward()
            optimizer.step()

    return Contestant(_versions(torch), run, logits, case)


def _torch_cnn(case: Case) -> Any:
    import torch

    arrays = [torch.from_numpy(array) for array in weights(case)]
    layers: list[Any] = []
    inputs = 1
    for number, filters in enumerate(_FILTERS):
        if number:
            layers.append(torch.nn.MaxPool2d(2, ceil_mode=True))
        size, stride = (3, 1) if number else (5, 2)
        convolution = torch.nn.Conv2d(inputs, filters, size, stride=stride, padding=size // 2, bias=False)
        norm = torch.nn.BatchNorm2d(filters, eps=_EPSILON, momentum=0.1)
        kernel, scale, offset, mean, variance = arrays[5 * number : 5 * number + 5]
        with torch.no_grad():
            convolution.weight.copy_(kernel.permute(3, 2, 0, 1))
            for target, values in zip(
                (norm.weight, norm.bias, norm.running_mean, norm.running_var),
                (scale, offset, mean, variance),
                strict=True,
            ):
                target.copy_(values)
        layers += [convolution, norm, torch.nn.ReLU()]
        inputs = filters

    class Cnn(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(*layers)
            self.dropout = torch.nn.Dropout(0.2)
            self.head = torch.nn.Linear(inputs, case["classes"])
            with torch.no_grad():
                self.head.weight.copy_(arrays[-2].T)
                self.head.bias.copy_(arrays[-1])

        def forward(self, x: Any) -> Any:
            x = self.body(x[:, None]).mean(dim=3)
            return self.head(self.dropout(x.mean(dim=2) + x.amax(dim=2)))

    return Cnn()


CONTESTANTS: dict[str, Callable[[Case], Contestant]] = {
    "tfaudio, fit": tfaudio_fit,
    "PyTorch": torch_loop,
    "PyTorch, channels last": functools.partial(torch_loop, channels_last=True),
}
