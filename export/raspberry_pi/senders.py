"""Where events go beside standard output: a webhook, an MQTT broker."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from tfaudio.errors import TfaudioError

_MESSAGES_WAITING = 1_000
_REQUEST_SECONDS = 10.0
_LARGEST_PORT = 65_535

Event = dict[str, Any]


class Webhook:
    """Posts events as JSON from a thread of its own, so that a slow server holds up no audio.

    Args:
      url: to post to.
      warn: is told what went wrong.

    Raises:
      TfaudioError: if that is no address of a web server.
    """

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
        except ValueError:  # half of the brackets around an IPv6 address
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or any(map(str.isspace, url)):
            raise TfaudioError(f"--webhook takes an address such as http://hub.local/heard, not '{url}'.")
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
        self._thread.join(_REQUEST_SECONDS)
        if self._thread.is_alive():
            self._warn(f"{self._url} has not taken all events; {self._waiting.qsize()} or more are left out.")

    def _post_all(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                request = urllib.request.Request(
                    self._url, json.dumps(event).encode(), {"Content-Type": "application/json"}, method="POST"
                )
                with urllib.request.urlopen(request, timeout=_REQUEST_SECONDS):
                    pass
            except (OSError, ValueError, http.client.HTTPException) as error:  # the last: what is no reply of HTTP
                self._warn(f"{self._url} did not take an event: {error}")


class Mqtt:
    """Publishes events as JSON; paho-mqtt reconnects by itself, and keeps what a broker has not confirmed yet.

    Args:
      broker: host, or host:port.
      topic: to publish to.
      warn: is told what went wrong.

    Raises:
      TfaudioError: if paho-mqtt is missing, or there can be no such broker or topic.
    """

    def __init__(self, broker: str, topic: str, warn: Callable[[str], None]) -> None:
        try:
            from paho.mqtt import client
        except ImportError as error:
            raise TfaudioError("--mqtt takes paho-mqtt; install it with `pip install paho-mqtt`.") from error
        host, _, port = broker.partition(":")
        if not host or (port and not (port.isdecimal() and 1 <= int(port) <= _LARGEST_PORT)):
            raise TfaudioError(f"--mqtt takes HOST or HOST:PORT, not '{broker}'.")
        if not topic or set("+#") & set(topic):
            raise TfaudioError(f"--topic takes a topic without + and #, which are for readers, not '{topic}'.")
        self._broker, self._topic, self._warn = broker, topic, warn
        self._no_room = client.MQTT_ERR_QUEUE_SIZE
        self._sent = self._confirmations = 0
        self._change = threading.Condition()
        self._client = client.Client(client.CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(_MESSAGES_WAITING)
        self._client.on_connect = self._connected
        self._client.on_publish = self._confirmed
        self._client.on_connect_fail = lambda *_: warn(f"the MQTT broker {broker} cannot be reached; trying again.")
        self._client.connect_async(host, int(port or 1883))
        self._client.loop_start()

    def send(self, event: Event) -> None:
        # Not under the lock: paho holds a lock of its own, both in here and around `_confirmed`.
        message = self._client.publish(self._topic, json.dumps(event), qos=1)
        if message.rc == self._no_room:
            self._warn(f"the MQTT broker {self._broker} does not keep up; an event is left out.")
            return
        with self._change:
            self._sent += 1

    def close(self) -> None:
        """Waits until the broker has confirmed all events, for as long as one request may take."""
        with self._change:
            # A confirmation may come before its event is counted.
            if not self._change.wait_for(lambda: self._confirmations >= self._sent, _REQUEST_SECONDS):
                missing = self._sent - self._confirmations
                self._warn(f"the MQTT broker {self._broker} has not confirmed {missing} event(s).")
        self._client.disconnect()
        self._client.loop_stop()

    def _confirmed(self, *_: Any) -> None:
        with self._change:
            self._confirmations += 1
            self._change.notify()

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._warn(f"the MQTT broker {self._broker} refuses the connection: {reason}.")
