"""A microphone that may vanish and come back."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tfaudio.errors import TfaudioError

_BLOCK_SECONDS = 0.1
_BLOCKS_WAITING = 100  # 10 s; beyond it the machine is too slow, and blocks are dropped and counted
_SILENT_SECONDS = 5.0  # without a block, a microphone has vanished
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0

Event = dict[str, Any]


class Microphone:
    """Blocks of a microphone, from when it is there until it vanishes.

    Args:
      device: number or part of the name, as `python -m sounddevice` lists them; None is the default.
      sample_rate: Hz; None is the device's own.
      sounddevice: the module.
    """

    def __init__(self, device: int | str | None, sample_rate: int | None, sounddevice: Any) -> None:
        self._module, self._device = sounddevice, device
        # PortAudio knows the devices that were there when it began.
        with contextlib.suppress(sounddevice.PortAudioError):  # where an earlier beginning failed there is no end
            sounddevice._terminate()
        sounddevice._initialize()
        try:
            found = sounddevice.query_devices(device, "input")
        except ValueError as error:
            raise sounddevice.PortAudioError(str(error)) from error
        self.name = str(found["name"])
        self.sample_rate = int(sample_rate or found["default_samplerate"])
        self.given_blocks = self.dropped_blocks = self.overflows = 0
        self._waiting: queue.Queue[np.ndarray] = queue.Queue(_BLOCKS_WAITING)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields int16 [samples, 1]; ends when the microphone has vanished."""

        def take(block: np.ndarray, frames: int, time: Any, status: Any) -> None:
            del frames, time
            self.overflows += bool(status.input_overflow)  # the device itself has lost some
            try:
                self._waiting.put_nowait(block.copy())
            except queue.Full:
                self.dropped_blocks += 1

        stream = self._module.InputStream(
            device=self._device,
            samplerate=self.sample_rate,
            channels=1,
            dtype="int16",
            blocksize=round(_BLOCK_SECONDS * self.sample_rate),
            callback=take,
        )
        with stream:
            while True:
                try:
                    block = self._waiting.get(timeout=_SILENT_SECONDS)
                except queue.Empty:
                    return
                self.given_blocks += 1
                yield block


def listen_to_microphone(
    connect: Callable[[], Microphone],
    hear: Callable[[int, Iterator[np.ndarray]], None],
    emit: Callable[[Event], None],
    warn: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    forever: Callable[[], bool] = lambda: True,
) -> None:
    """Listens for as long as `forever` holds; when the microphone has vanished, waits until one is there again.

    Args:
      connect: opens a microphone, or raises an exception whose class is called PortAudioError.
      hear: takes a rate and blocks to their end.
      emit: is told of microphones that come and go.
      warn: is told what a person should know.
      sleep: waits for some seconds.
      forever: asked before each attempt.
    """
    pause = _FIRST_PAUSE_SECONDS
    while forever():
        microphone: Microphone | None = None
        try:
            microphone = connect()
            emit({"event": "microphone", "name": microphone.name, "sample_rate": microphone.sample_rate})
            hear(microphone.sample_rate, _losses_told(microphone, warn))
            problem = "it gives no more sound"
        except Exception as error:  # PortAudio's, whose class is known only where a microphone is used
            if type(error).__name__ != "PortAudioError":
                raise
            problem = str(error)
        if microphone is not None and microphone.given_blocks:
            pause = _FIRST_PAUSE_SECONDS
        emit({"event": "no_microphone", "reason": problem, "retry_seconds": pause})
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _losses_told(microphone: Microphone, warn: Callable[[str], None]) -> Iterator[np.ndarray]:
    """Passes the blocks on, and warns of lost sound: at once, and whenever it has doubled since."""
    due = 1
    for block in microphone.blocks():
        yield block
        lost = microphone.dropped_blocks + microphone.overflows
        if lost >= due:
            due = 2 * lost
            warn(
                f"{microphone.dropped_blocks} blocks of {_BLOCK_SECONDS:g} s were dropped, by which later times are "
                f"too early, and {microphone.overflows} were incomplete: the machine is too slow for this model."
            )


def sounddevice_module() -> Any:
    """Returns the module that records.

    Raises:
      TfaudioError: if it or its library is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise TfaudioError("A microphone takes sounddevice; install it with `pip install sounddevice`.") from error
    except OSError as error:  # its library
        raise TfaudioError("sounddevice needs PortAudio; install it with `sudo apt install libportaudio2`.") from error
    return sounddevice
