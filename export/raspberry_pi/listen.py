"""Listens to a microphone and tells what it hears: JSON lines, and on request MQTT messages or a webhook.

    python listen.py model_streaming_int8.tflite                      # the default microphone
    python listen.py model_streaming_int8.tflite --device=USB --mqtt=broker.local --webhook=http://hub.local/heard
    arecord -t raw -f S16_LE -r 16000 | python listen.py model_streaming_int8.tflite --source=- --rate=16000
    python listen.py model_streaming_int8.tflite --source=recording.flac

A microphone that vanishes is looked for until it is back. Channels are mixed down to mono. Takes tfaudio, NumPy,
soundfile and ai-edge-litert, and sounddevice for the microphone; paho-mqtt for MQTT.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
from typing import Any

from microphone import Microphone, StuckError, listen_to_microphone, sounddevice_module
from senders import Mqtt, Webhook

from tfaudio.errors import TfaudioError
from tfaudio.runtime.audio import open_recording
from tfaudio.runtime.command import run
from tfaudio.runtime.listen import add_options, listen, open_stream, pcm_blocks, recording_blocks
from tfaudio.runtime.scorers import open_scorer
from tfaudio.terminal import leave

EXIT_STUCK = 74  # a sound card does not answer; EX_IOERR of sysexits.h

Event = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Listens until the source ends, or for ever to a microphone; 1 if the model or the source could not be used.

    EXIT_STUCK tells that a sound card does not answer any more, which a new process may mend.
    """
    return run("listen.py", lambda: _listen(arguments))


def end(code: int) -> None:
    """Ends the process with an exit code of `main`."""
    if code == EXIT_STUCK:
        os._exit(code)  # PortAudio, which sounddevice ends with the interpreter, would wait for the card for ever
    leave(code)


def _listen(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--source", default="microphone", help="microphone (default), - for raw samples, or a file")
    parser.add_argument("--device", help="number of the microphone or part of its name (python -m sounddevice)")
    parser.add_argument("--rate", type=int, help="Hz; of a microphone its own, of raw samples the model's by default")
    parser.add_argument(
        "--channels", type=int, help="of raw samples, interleaved (1); of a microphone (2, or 1 if it has no more)"
    )
    parser.add_argument("--mqtt", metavar="HOST[:PORT]", help="publish detections to this broker")
    parser.add_argument("--topic", default="tfaudio/detections", help="of MQTT (tfaudio/detections)")
    parser.add_argument("--webhook", metavar="URL", help="post detections as JSON to this address")
    options = parser.parse_args(arguments)
    if options.channels is not None and not 1 <= options.channels <= 64:
        parser.error("--channels must be 1 to 64")
    if options.channels is not None and options.source not in ("microphone", "-"):
        parser.error("--channels is of a microphone or of raw samples; a recording tells its own")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as systemd ends a service

    senders: list[Webhook | Mqtt] = []

    def emit(event: Event) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        event = {"time": now, **event}
        print(json.dumps(event, ensure_ascii=False), flush=True)
        if event["event"] == "detection":
            for sender in senders:
                sender.send(event)

    try:
        scorer = open_scorer(options.model, hop_seconds=options.hop_seconds, num_threads=options.threads)
        if options.webhook:
            senders.append(Webhook(options.webhook, _warn))
        if options.mqtt:
            senders.append(Mqtt(options.mqtt, options.topic, _warn))
        open_stream(options, scorer, None)  # so that a wrong option shows before a microphone is waited for
        if options.source == "microphone":
            device = int(options.device) if (options.device or "").isdecimal() else options.device
            listen_to_microphone(
                lambda: Microphone(device, options.rate, sounddevice_module(), channels=options.channels),
                lambda rate, blocks: listen(
                    open_stream(options, scorer, rate), blocks, emit, status_seconds=options.status_seconds
                ),
                emit,
                _warn,
            )
        elif options.source == "-":
            blocks = pcm_blocks(sys.stdin.buffer, options.channels or 1)
            listen(open_stream(options, scorer, options.rate), blocks, emit, status_seconds=options.status_seconds)
        else:
            with open_recording(options.source, options.source) as sound:
                stream = open_stream(options, scorer, sound.samplerate)
                blocks = recording_blocks(sound, options.source)
                listen(stream, blocks, emit, status_seconds=options.status_seconds)
    except StuckError as error:
        _warn(f"error: {error}")
        return EXIT_STUCK
    except TfaudioError as error:
        _warn(f"error: {error}")
        return 1
    finally:
        for sender in senders:
            sender.close()
    return 0


def _warn(message: str) -> None:
    print(f"listen.py: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    end(main())
