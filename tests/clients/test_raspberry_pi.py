"""The Raspberry Pi's client: a microphone that comes and goes, raw samples, a webhook."""

from __future__ import annotations

import http.server
import json
import shlex
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.export.small_runs import SAMPLE_RATE, tones
from tests.export.test_streaming import causal_run
from tfaudio.export.artifact import export_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pi") / "out"
    report = export_run(
        causal_run("ds_cnn"), formats=("streaming",), output_dir=folder, calibration=tones(4, seed=1)[0]
    )
    return report.paths["streaming"]


@pytest.fixture
def folder(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Makes the scripts importable, for one test."""
    path = repository / "export" / "raspberry_pi"
    monkeypatch.syspath_prepend(str(path))
    yield path
    for name in ("listen", "microphone", "senders"):
        sys.modules.pop(name, None)


class PortAudioError(Exception):
    pass


class Sounddevice(types.SimpleNamespace):
    """A sound card that is missing at first, gives some blocks, vanishes, and is back."""

    def __init__(self, blocks: int, inputs: int = 1) -> None:
        super().__init__(PortAudioError=PortAudioError)
        self.attempts, self.rescans, self.blocks, self.overflowing = 0, 0, blocks, False
        self.running, self.refusing = True, False
        self.inputs = inputs
        self.finding: dict[int, Exception] = {1: ValueError("No input device matching 'USB'")}  # of an attempt
        self.opening: dict[int, Exception] = {}
        self.starting: dict[int, Exception] = {}
        self.closings: list[str] = []
        self.free = threading.Event()  # unset, a closing does not return in time
        self.free.set()

    def _terminate(self) -> None:
        if not self.running:
            raise PortAudioError("PortAudio not initialized")
        self.rescans, self.running = self.rescans + 1, False

    def _initialize(self) -> None:
        if self.refusing:
            raise PortAudioError("Unanticipated host error")
        self.running = True

    def query_devices(self, device: Any, kind: str) -> dict[str, Any]:
        self.attempts += 1
        if self.attempts in self.finding:
            raise self.finding[self.attempts]
        return {"name": "USB microphone", "default_samplerate": 44_100.0, "max_input_channels": self.inputs}

    def InputStream(self, *, callback: Any, blocksize: int, channels: int, **settings: Any) -> Any:
        card = self
        if card.attempts in card.opening:
            raise card.opening[card.attempts]

        class Stream:
            def start(self) -> None:
                if card.attempts in card.starting:
                    raise card.starting[card.attempts]
                for _ in range(card.blocks):
                    status = types.SimpleNamespace(input_overflow=card.overflowing)
                    callback(np.ones([blocksize, channels], np.int16), blocksize, None, status)

            def abort(self) -> None:
                card.free.wait(10)
                card.closings.append("abort")

            def close(self) -> None:
                card.closings.append("close")

        return Stream()


def test_a_microphone_that_vanishes_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import microphone

    monkeypatch.setattr(microphone, "_SILENT_SECONDS", 0.01)
    card = Sounddevice(blocks=3)
    card.starting[3] = PortAudioError("Device unavailable", -9985)
    events: list[dict[str, Any]] = []
    pauses: list[float] = []

    def hear(rate: int, blocks: Iterator[np.ndarray]) -> None:
        assert rate == 44_100
        for block in blocks:
            assert block.shape == (4410, 1)

    microphone.listen_to_microphone(
        lambda: microphone.Microphone("USB", None, card),
        hear,
        events.append,
        lambda message: pytest.fail(message),
        sleep=pauses.append,
        forever=lambda: card.attempts < 4,
    )
    assert [event["event"] for event in events] == ["no_microphone", *["microphone", "no_microphone"] * 3]
    assert "No input device matching 'USB'" in events[0]["reason"]
    assert events[2]["reason"] == "it gives no more sound"
    assert "Device unavailable" in events[4]["reason"]
    assert card.rescans == card.attempts == 4
    assert card.closings == ["abort", "close"] * 3
    assert pauses == [1.0, 1.0, 2.0, 1.0]


REFUSALS = {
    "several": ("finding", ValueError("Multiple input devices found for 'USB':\n[1] USB A\n[2] USB B"), "--device"),
    "no inputs": ("finding", ValueError("Not an input device: 'HDMI'"), "--device"),
    "channels": ("opening", PortAudioError("Invalid number of channels", -9998), "--channels"),
    "rate": ("opening", PortAudioError("Invalid sample rate", -9997), "--rate"),
}


def listen_for(attempts: int, card: Sounddevice) -> list[dict[str, Any]]:
    """Tries a card some times, and returns the events."""
    import microphone

    events: list[dict[str, Any]] = []
    microphone.listen_to_microphone(
        lambda: microphone.Microphone("USB", None, card),
        lambda _, blocks: [None for _ in blocks].clear(),
        events.append,
        lambda message: pytest.fail(message),
        sleep=lambda _: None,
        forever=lambda: card.attempts < attempts,
    )
    return events


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_flag_that_fits_no_microphone_is_an_error(refusal: str, attempt: int, folder: Path) -> None:
    import microphone

    card = Sounddevice(blocks=3)
    if attempt == 1:  # or the microphone is plugged in later
        card.finding.clear()
    step, problem, flag = REFUSALS[refusal]
    getattr(card, step)[attempt] = problem
    with pytest.raises(microphone.SettingError, match=flag) as caught:
        listen_for(4, card)
    assert card.attempts == attempt
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_a_returning_microphone_refuses_passes(
    refusal: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import microphone

    monkeypatch.setattr(microphone, "_SILENT_SECONDS", 0.01)
    card = Sounddevice(blocks=3)
    card.finding.clear()
    step, problem, flag = REFUSALS[refusal]
    getattr(card, step)[2] = problem
    reasons = [event["reason"] for event in listen_for(3, card) if event["event"] == "no_microphone"]
    assert len(reasons) == 3
    assert flag in reasons[1]
    assert reasons[0] == reasons[2] == "it gives no more sound"


@pytest.mark.parametrize(
    ("inputs", "wanted", "given"), [(1, None, 1), (2, None, 2), (8, None, 2), (8, 6, 6), (2, 1, 1)]
)
def test_a_microphone_is_asked_for_channels_that_it_has(
    inputs: int, wanted: int | None, given: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import microphone

    monkeypatch.setattr(microphone, "_SILENT_SECONDS", 0.01)
    card = Sounddevice(blocks=1, inputs=inputs)
    card.finding.clear()
    source = microphone.Microphone(None, 16_000, card, channels=wanted)
    assert [block.shape for block in source.blocks()] == [(1600, given)]


def test_a_card_that_cannot_be_closed_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import microphone

    monkeypatch.setattr(microphone, "_SILENT_SECONDS", 0.01)
    monkeypatch.setattr(microphone, "_CLOSING_SECONDS", 0.05)
    card = Sounddevice(blocks=3)
    card.finding.clear()
    card.free.clear()
    with pytest.raises(microphone.StuckError, match="'USB microphone' cannot be closed"):
        listen_for(4, card)
    card.free.set()


# What the client sees as sounddevice. %s is what opening a stream does, before it would succeed.
CARD = """
import atexit, time
class PortAudioError(Exception):
    pass
def _terminate():
    pass
_initialize = _terminate
atexit.register(time.sleep, 600)  # as PortAudio's own end would wait for a stuck card
def query_devices(device, kind):
    return {"name": "USB microphone", "default_samplerate": 8000.0, "max_input_channels": 1}
class InputStream:
    def __init__(self, **settings):
        %s
    def start(self):
        pass
    def abort(self):
        time.sleep(600)
    stop = close = abort
    __enter__ = start
    def __exit__(self, *_):
        self.stop()
"""


def run_with_card(
    model: Path, repository: Path, folder: Path, cards: Path, opening: str
) -> subprocess.CompletedProcess[bytes]:
    (cards / "sounddevice.py").write_text(CARD % opening)
    program = (
        f"import sys; sys.path[:0] = {[str(repository), str(folder), str(cards)]}; import listen, microphone; "
        "microphone._SILENT_SECONDS = microphone._CLOSING_SECONDS = 0.1; listen.end(listen.main())"
    )
    return subprocess.run([sys.executable, "-c", program, str(model)], capture_output=True, check=False, timeout=120)


def test_a_card_that_cannot_be_closed_ends_the_program(
    model: Path, repository: Path, folder: Path, tmp_path: Path
) -> None:
    done = run_with_card(model, repository, folder, tmp_path, "pass")
    assert done.returncode == 74  # so that systemd starts it again
    message = "listen.py: error: The microphone 'USB microphone' cannot be closed; plug it in again and start anew."
    assert done.stderr.decode().splitlines()[-1] == message
    assert b"Traceback" not in done.stderr
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["microphone", "start", "end"]


def test_a_rate_that_the_microphone_refuses_ends_the_program(
    model: Path, repository: Path, folder: Path, tmp_path: Path
) -> None:
    refusal = "atexit.unregister(time.sleep); raise PortAudioError('Invalid sample rate', -9997)"
    done = run_with_card(model, repository, folder, tmp_path, refusal)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert (
        done.stderr.decode()
        .splitlines()[-1]
        .startswith("listen.py: error: The microphone 'USB microphone' refuses 8000 Hz; give --rate")
    )


def test_a_microphone_that_stays_away_is_asked_for_less_and_less_often(folder: Path) -> None:
    import microphone

    pauses: list[float] = []

    def connect() -> Any:
        raise PortAudioError("No default input device available")

    microphone.listen_to_microphone(
        connect, lambda *_: None, lambda _: None, print, sleep=pauses.append, forever=lambda: len(pauses) < 8
    )
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_blocks_that_nobody_takes_are_dropped_and_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import microphone

    monkeypatch.setattr(microphone, "_SILENT_SECONDS", 0.01)
    card = Sounddevice(blocks=130)
    card.attempts = 1
    source = microphone.Microphone(None, 16_000, card)
    loudest = [int(block.max()) for block in source.blocks()]
    assert loudest == [1] * 100
    assert (source.given_blocks, source.dropped_blocks) == (100, 30)


def test_lost_sound_is_told_while_it_is_being_lost(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import microphone

    monkeypatch.setattr(microphone, "_SILENT_SECONDS", 0.01)
    card = Sounddevice(blocks=130)
    card.attempts, card.overflowing = 1, True
    warnings, seconds = [], []

    def hear(rate: int, blocks: Iterator[np.ndarray]) -> None:
        for number, block in enumerate(blocks):
            seconds.append(len(block) / rate)
            assert warnings or number < 2

    microphone.listen_to_microphone(
        lambda: microphone.Microphone(None, 16_000, card),
        hear,
        lambda _: None,
        warnings.append,
        sleep=lambda _: None,
        forever=iter([True, False]).__next__,
    )
    assert sum(seconds) == pytest.approx(10.0)
    assert warnings == [
        "30 blocks of 0.1 s were dropped, by which later times are too early, and 130 were incomplete: the machine is "
        "too slow for this model."
    ]


def test_a_sound_system_that_did_not_start_is_started_again(folder: Path) -> None:
    import microphone

    card = Sounddevice(blocks=1)
    card.attempts, card.refusing = 1, True
    with pytest.raises(PortAudioError, match="host error"):
        microphone.Microphone(None, 16_000, card)
    card.refusing = False
    assert microphone.Microphone(None, 16_000, card).name == "USB microphone"


@pytest.fixture
def server() -> Iterator[tuple[str, list[Any]]]:
    """A web server that keeps what is posted to it."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}/heard", received
        running.shutdown()


def _broker(listener: socket.socket, received: list[Any]) -> None:
    """As much of an MQTT 3.1.1 broker as a publisher of quality 1 needs (OASIS standard, sections 3.1 to 3.4)."""
    connection = listener.accept()[0]
    with connection, connection.makefile("rb") as stream:
        while kind := stream.read(1):
            length, shift = 0, 0
            while True:  # 2.2.3, remaining length
                (digit,) = stream.read(1)
                length, shift = length + ((digit & 127) << shift), shift + 7
                if digit < 128:
                    break
            body = stream.read(length)
            if kind[0] >> 4 == 1:  # CONNECT
                connection.sendall(b"\x20\x02\0\0")
            elif kind[0] >> 4 == 3:  # PUBLISH: topic, packet identifier, payload
                end = 2 + int.from_bytes(body[:2], "big")
                received.append((body[2:end].decode(), json.loads(body[end + 2 :])))
                connection.sendall(b"\x40\x02" + body[end : end + 2])


def test_every_event_reaches_an_mqtt_broker_before_the_program_ends(
    model: Path, repository: Path, folder: Path
) -> None:
    received: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_broker, args=(listener, received), daemon=True).start()
        pcm = np.round(tones(1, seed=2, seconds=3.0)[0][0] * 32767).astype("<i2").tobytes()
        options = ["--source=-", f"--rate={SAMPLE_RATE}", "--threshold=0.02", "--topic=house/sounds"]
        done = run(repository, folder, str(model), *options, f"--mqtt=127.0.0.1:{listener.getsockname()[1]}", data=pcm)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    detections = [event for event in events if event["event"] == "detection"]
    assert detections
    assert received == [("house/sounds", event) for event in detections]
    assert b"MQTT" not in done.stderr


def test_a_broker_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import senders

    monkeypatch.setattr(senders, "_REQUEST_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    warnings: list[str] = []
    sender = senders.Mqtt(address, "topic", warnings.append)
    sender.send({"event": "detection"})
    sender.close()
    assert f"the MQTT broker {address} cannot be reached; trying again." in warnings
    assert warnings[-1] == f"the MQTT broker {address} has not confirmed 1 event(s)."


def test_a_confirmation_that_comes_while_the_next_event_is_sent_blocks_nothing(folder: Path) -> None:
    import senders

    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = senders.Mqtt(f"127.0.0.1:{listener.getsockname()[1]}", "topic", lambda _: None)
        blocked = []

        def publish(*_: object, **__: object) -> Any:
            # As paho does: its network thread holds the lock that publishing waits for while it tells of a message.
            network = threading.Thread(target=sender._confirmed, args=(None, None, 1), daemon=True)
            network.start()
            network.join(5)
            blocked.append(network.is_alive())
            return types.SimpleNamespace(rc=0, mid=1)

        sender._client.publish = publish
        sender.send({"event": "detection"})
        sender.close()
    assert blocked == [False]


def test_a_server_that_answers_nonsense_gets_the_next_event_too(folder: Path) -> None:
    import senders

    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for reply in (b"nonsense\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"):
                with listener.accept()[0] as connection:
                    connection.recv(65_536)
                    connection.sendall(reply)

        server = threading.Thread(target=answer, daemon=True)
        server.start()
        sender = senders.Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", warnings.append)
        sender.send({"event": "detection"})
        sender.send({"event": "detection"})
        sender.close()
        server.join(5)
    assert not server.is_alive()
    assert len(warnings) == 1
    assert "did not take an event" in warnings[0]


def test_what_a_webhook_has_not_taken_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import senders

    monkeypatch.setattr(senders, "_REQUEST_SECONDS", 0.5)
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, and answers nothing
        sender = senders.Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", warnings.append)
        for _ in range(4):
            sender.send({"event": "detection"})
        sender.close()
    # Not always the last: the request that is on its way may still fail, now that nobody listens.
    assert any("has not taken all events" in warning for warning in warnings)


def run(repository: Path, folder: Path, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    paths = [str(repository), str(folder)]
    program = f"import sys; sys.path[:0] = {paths}; import listen; listen.end(listen.main())"
    return subprocess.run([sys.executable, "-c", program, *arguments], input=data, capture_output=True, check=False)


def test_raw_samples_become_lines_and_posts(
    model: Path, repository: Path, folder: Path, server: tuple[str, list[Any]]
) -> None:
    url, received = server
    pcm = np.round(tones(1, seed=2, seconds=3.0)[0][0] * 32767).astype("<i2").tobytes()
    options = ["--source=-", f"--rate={SAMPLE_RATE}", "--threshold=0.02", f"--webhook={url}"]
    done = run(repository, folder, str(model), *options, data=pcm)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    detections = [event for event in events if event["event"] == "detection"]
    assert detections
    assert received == detections
    assert all(event["time"].endswith("+00:00") for event in events)
    assert events[-1]["event"] == "end"
    assert events[-1]["seconds"] == 3.0


def test_raw_samples_of_two_channels_are_mixed(model: Path, repository: Path, folder: Path) -> None:
    waveform = tones(1, seed=2, seconds=3.0)[0][0]
    mono = np.round(waveform * 16_384)
    stereo = np.stack([2 * mono, np.zeros_like(mono)], axis=1)
    heard = []
    for samples, options in ((mono, []), (stereo, ["--channels=2"])):
        arguments = [str(model), "--source=-", f"--rate={SAMPLE_RATE}", "--threshold=0.02", *options]
        done = run(repository, folder, *arguments, data=samples.astype("<i2").tobytes())
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[-1]["seconds"] == 3.0
        heard.append([(e["label"], e["start"], e["end"], e["score"]) for e in events if e["event"] == "detection"])
    assert heard[0]
    assert heard[1] == heard[0]
    done = run(repository, folder, str(model), "--source=-", "--channels=0")
    assert done.returncode == 2
    assert b"--channels must be 1 to 64" in done.stderr


def test_what_cannot_be_used_is_told_in_a_sentence(model: Path, repository: Path, folder: Path) -> None:
    for arguments, message in (
        (["missing.tflite", "--source=-"], "There is no model file missing.tflite"),
        ([str(model), "--source=missing.wav"], "missing.wav does not exist"),
        ([str(model), "--source=-", "--threshold_of=drum=1"], "'drum' is not one of the classes"),
        ([str(model), "--source=-", "--mqtt=host:port"], "--mqtt takes"),
        ([str(model), "--source=-", "--mqtt=host:0"], "--mqtt takes"),
        ([str(model), "--source=-", "--mqtt=:1883"], "--mqtt takes"),
        ([str(model), "--source=-", "--mqtt=host", "--topic=house/#"], "--topic takes"),
        ([str(model), "--source=-", "--webhook=hub.local/heard"], "--webhook takes"),
        ([str(model), "--source=-", "--webhook=http://[hub/heard"], "--webhook takes"),
        ([str(model), "--source=-", "--rate=1000000007"], "give its rate"),
    ):
        done = run(repository, folder, *arguments)
        assert done.returncode == 1
        assert message in done.stderr.decode(), done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_the_service_calls_what_is_there(folder: Path) -> None:
    lines = (folder / "tfaudio-listen.service").read_text("utf-8").splitlines()
    (start,) = [line.split("=", 1)[1] for line in lines if line.startswith("ExecStart=")]
    script = shlex.split(start)[1]
    assert (folder / Path(script).name).is_file()
    assert {"[Unit]", "[Service]", "[Install]", "Restart=always"} <= set(lines)
