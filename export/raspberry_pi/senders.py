"""Where events go beside standard output: a webhook, an MQTT broker."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

from tfaudio.errors import TfaudioError

_MESSAGES_WAITING = 1_000
_WEBHOOK_SECONDS = 10.0

Event = dict[str, Any]


class Webhook:
    """Posts events as JSON from a thread of its own, so that a slow server holds up no audio.

    Args:
      url: to post to.
      warn: is told what went wrong.
    """

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        self._url, self._warn = url, warn
        self._waiting: queue.Queue[Event | None] = queue.Queue(_MESSAGES_WAITING)
        self._thread = threading.Thread(target=self._post_all, daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._warn(f"{self._url} does not keep up; an event is left out.")

    def close(self) -> None:
        """Waits until what is waiting has been posted, for as long as one request may take."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_WEBHOOK_SECONDS)

    def _post_all(self) -> None:
        while (event := self._waiting.get()) is not None:
            request = urllib.request.Request(
                self._url, json.dumps(event).encode(), {"Content-Type": "application/json"}, method="POST"
            )
            try:
                with urllib.request.urlopen(request, timeout=_WEBHOOK_SECONDS):
                    pass
            except (OSError, ValueError) as error:
                self._warn(f"{self._url} did not take an event: {error}")


class Mqtt:
    """Publishes events as JSON; paho-mqtt reconnects by itself.

    Args:
      broker: host, or host:port.
      topic: to publish to.
    """

    def __init__(self, broker: str, topic: str) -> None:
        try:
            from paho.mqtt import client
        except ImportError as error:
            raise TfaudioError("--mqtt takes paho-mqtt; install it with `pip install paho-mqtt`.") from error
        host, _, port = broker.partition(":")
        if port and not port.isdecimal():
            raise TfaudioError(f"--mqtt takes HOST or HOST:PORT, not '{broker}'.")
        self._topic = topic
        self._client = client.Client(client.CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(_MESSAGES_WAITING)
        self._client.connect_async(host, int(port or 1883))
        self._client.loop_start()

    def send(self, event: Event) -> None:
        self._client.publish(self._topic, json.dumps(event), qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
