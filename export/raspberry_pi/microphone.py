"""A microphone that may vanish and come back."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from tfaudio.errors import TfaudioError

_BLOCK_SECONDS = 0.1
_BLOCKS_WAITING = 100  # 10 s; beyond it the machine is too slow, and blocks are dropped and counted
_SILENT_SECONDS = 5.0  # without a block, a microphone has vanished
_CLOSING_SECONDS = 5.0  # within which a sound card closes, or never does
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_MOST_CHANNELS = 2  # taken of a microphone that has more, where no number is given
_INVALID_CHANNELS, _INVALID_RATE = -9998, -9997  # PaErrorCode of portaudio.h

Event = dict[str, Any]


class SettingError(TfaudioError):
    """A flag that fits no microphone of this machine."""


class StuckError(TfaudioError):
    """A sound card that does not answer any more; PortAudio's own end would wait for it, too."""


class Microphone:
    """Blocks of a microphone, from when it is there until it vanishes.

    Args:
      device: number or part of the name, as `python -m sounddevice` lists them; None is the default.
      sample_rate: Hz; None is the device's own.
      sounddevice: the module.
      channels: to take; None is 1 or 2, of those that the device has.

    Raises:
      SettingError: if there are several such devices, or it has no inputs.
    """

    def __init__(
        self, device: int | str | None, sample_rate: int | None, sounddevice: Any, *, channels: int | None = None
    ) -> None:
        self._module, self._device = sounddevice, device
        # PortAudio knows the devices that were there when it began.
        with contextlib.suppress(sounddevice.PortAudioError):  # where an earlier beginning failed there is no end
            sounddevice._terminate()
        sounddevice._initialize()
        try:
            found = sounddevice.query_devices(device, "input")
        except ValueError as error:
            problem = " ".join(str(error).split())  # of several devices it has a line each
            if problem.startswith("No "):  # such device, so far
                raise sounddevice.PortAudioError(problem) from error
            raise SettingError(
                f"No microphone can be told ({problem}); give --device the number of one, as "
                "`python -m sounddevice` lists them."
            ) from error
        self.name = str(found["name"])
        self.sample_rate = int(found["default_samplerate"] if sample_rate is None else sample_rate)
        self._inputs = int(found["max_input_channels"])
        self.channels = min(_MOST_CHANNELS, self._inputs) if channels is None else channels
        self.opened = False
        self.given_blocks = self.dropped_blocks = self.overflows = 0
        self._waiting: queue.Queue[np.ndarray] = queue.Queue(_BLOCKS_WAITING)

    def blocks(self) -> Generator[np.ndarray, None, None]:
        """Yields int16 [samples, channels]; ends when the microphone has vanished.

        Raises:
          SettingError: if the microphone does not take the rate or the number of channels.
          StuckError: if it cannot be closed.
        """

        def take(block: np.ndarray, frames: int, time: Any, status: Any) -> None:
            del frames, time
            self.overflows += bool(status.input_overflow)  # the device itself has lost some
            try:
                self._waiting.put_nowait(block.copy())
            except queue.Full:
                self.dropped_blocks += 1

        stream = self._open(take)
        try:
            stream.start()
            self.opened = True
            while True:
                try:
                    block = self._waiting.get(timeout=_SILENT_SECONDS)
                except queue.Empty:
                    return
                self.given_blocks += 1
                yield block
        finally:
            self._close(stream)

    def _open(self, callback: Callable[[np.ndarray, int, Any, Any], None]) -> Any:
        try:
            return self._module.InputStream(
                device=self._device,
                samplerate=self.sample_rate,
                channels=self.channels,
                dtype="int16",
                blocksize=round(_BLOCK_SECONDS * self.sample_rate),
                callback=callback,
            )
        except self._module.PortAudioError as error:
            code = error.args[1] if len(error.args) > 1 else None
            if code == _INVALID_CHANNELS:
                raise SettingError(
                    f"The microphone '{self.name}' refuses {self.channels} channel(s); give --channels another number, "
                    f"up to {self._inputs}."
                ) from error
            if code == _INVALID_RATE:
                raise SettingError(
                    f"The microphone '{self.name}' refuses {self.sample_rate} Hz; give --rate one that it takes, often "
                    "44100 or 48000."
                ) from error
            raise

    def _close(self, stream: Any) -> None:
        """Closes a stream from another thread: of a card that was pulled out, PortAudio may wait for ever."""

        def close() -> None:
            stream.abort()
            stream.close()

        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(_CLOSING_SECONDS)
        if closing.is_alive():
            raise StuckError(f"The microphone '{self.name}' cannot be closed; plug it in again and start anew.")


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

    Raises:
      SettingError: if a flag fits no microphone, as long as none could be opened; later that passes.
      StuckError: if a microphone has vanished and cannot be closed.
    """
    pause, opened = _FIRST_PAUSE_SECONDS, False
    while forever():
        microphone: Microphone | None = None
        try:
            microphone = connect()
            emit({"event": "microphone", "name": microphone.name, "sample_rate": microphone.sample_rate})
            with contextlib.closing(_losses_told(microphone, warn)) as blocks:
                hear(microphone.sample_rate, blocks)
            problem = "it gives no more sound"
        except SettingError as error:
            if not opened:
                raise
            problem = str(error)
        except Exception as error:  # PortAudio's, whose class is known only where a microphone is used
            if type(error).__name__ != "PortAudioError":
                raise
            problem = str(error)
        if microphone is not None:
            opened = opened or microphone.opened
            if microphone.given_blocks:
                pause = _FIRST_PAUSE_SECONDS
        emit({"event": "no_microphone", "reason": problem, "retry_seconds": pause})
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _losses_told(microphone: Microphone, warn: Callable[[str], None]) -> Generator[np.ndarray, None, None]:
    """Passes the blocks on, and warns of lost sound: at once, and whenever it has doubled since."""
    due = 1
    with contextlib.closing(microphone.blocks()) as blocks:
        for block in blocks:
            yield block
            lost = microphone.dropped_blocks + microphone.overflows
            if lost >= due:
                due = 2 * lost
                warn(
                    f"{microphone.dropped_blocks} blocks of {_BLOCK_SECONDS:g} s were dropped, by which later times "
                    f"are too early, and {microphone.overflows} were incomplete: the machine is too slow for this "
                    "model."
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
