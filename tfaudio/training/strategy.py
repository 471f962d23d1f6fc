"""Where to train: one device, several, or none but the CPU."""

from __future__ import annotations

import tensorflow as tf

from tfaudio.errors import TfaudioError


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the tf.distribute strategy of a name.

    Args:
      name: "auto" (all GPUs, or the CPU), "cpu", "mirrored" (all GPUs, or all logical CPUs), "multi_worker"
        (the hosts that TF_CONFIG names) or "tpu" (the TPU that TPU_NAME names).

    Raises:
      TfaudioError: if the devices are not there.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "cpu":
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi_worker":
        raise TfaudioError(
            "strategy 'multi_worker' does not work with Keras 3's fit yet; train on one host with --strategy=mirrored."
        )
    if name == "tpu":
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
        except (ValueError, tf.errors.OpError) as error:
            raise TfaudioError("No TPU was found; set TPU_NAME, or train with --strategy=auto.") from error
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()


def precision_policy(strategy: tf.distribute.Strategy, *, mixed: bool) -> str:
    """Returns the Keras policy to compute in."""
    if not mixed:
        return "float32"
    # float16 needs the loss scaling that Keras adds for it; bfloat16 has float32's range, and CPUs and TPUs know it.
    on_cpu = isinstance(strategy, tf.distribute.OneDeviceStrategy)  # which `make_strategy` makes of "cpu" alone
    return "mixed_float16" if tf.config.list_logical_devices("GPU") and not on_cpu else "mixed_bfloat16"


def check_batch(batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """Raises TfaudioError if a global batch cannot be shared out evenly among the replicas."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise TfaudioError(
            f"training.batch_size {batch_size} does not divide among {replicas} replicas; "
            f"choose a multiple of {replicas}."
        )
