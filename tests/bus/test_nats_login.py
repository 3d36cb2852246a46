"""Logging in to NATS: every way it offers, nothing secret in a log, nothing secret to a server that is not trusted."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio

from sie.bus.nats import NatsBus
from sie.bus.servers import read_servers
from sie.errors import BusUnavailable, ConfigurationError
from sie.settings import Settings
from tests.bus.certificates import Certificates
from tests.bus.credentials import Operator
from tests.bus.made import connected, notice, running, settings_for, wait_trouble
from tests.bus.natsserver import NatsServer

SECRET = "s3cr%t/@:word"
QUOTED = "s3cr%25t%2F%40%3Aword"


def options(authorization: str) -> str:
    return f"authorization {{ {authorization} }}"


@pytest.mark.parametrize(
    ("authorization", "login"),
    [(f"user: ann, password: '{SECRET}'", f"ann:{QUOTED}"), (f"token: '{SECRET}'", QUOTED)],
    ids=["user and password", "token"],
)
async def test_a_login_in_the_url_is_used_and_never_logged(
    authorization: str, login: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with NatsServer(options(authorization)) as server:
        url = f"nats://{login}@127.0.0.1:{server.port}"
        async with connected(settings_for(server, nats_url=url, nats_reconnect_s=0.05)) as bus:
            await bus.publish(notice(1, "default"))
            server.kill()
            await bus.wait_changed(bus.connection)
    assert SECRET not in caplog.text
    assert QUOTED not in caplog.text
    assert SECRET not in repr(bus) + repr(Settings(nats_url=url)) + repr(read_servers(Settings(nats_url=url)))


async def test_a_wrong_login_is_told_without_what_was_tried_and_the_process_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with NatsServer(options("user: ann, password: right")) as server:
        url = f"nats://ann:{QUOTED}@127.0.0.1:{server.port}"
        async with running(settings_for(server, nats_url=url, nats_reconnect_s=0.01)) as bus:
            await wait_trouble(bus, "Authorization")
            with pytest.raises(BusUnavailable) as refused:
                await bus.publish(notice(1, "default"))
    assert not bus.connected
    assert SECRET not in caplog.text + str(refused.value)
    assert QUOTED not in caplog.text


async def test_what_the_server_does_not_permit_is_told_and_a_publish_of_it_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    permissions = '{user: ann, password: x, permissions: {publish: {deny: "sie.config.models.*"}}}'
    with NatsServer(options(f"users: [{permissions}]")) as server:
        url = f"nats://ann:x@127.0.0.1:{server.port}"
        async with connected(settings_for(server, nats_url=url)) as bus:
            with pytest.raises(BusUnavailable) as refused:
                await bus.publish(notice(1, "default"))
            assert "permit" in refused.value.message
            assert bus.connected
    assert "permissions violation" in caplog.text.lower()


@pytest.mark.parametrize(
    "url",
    [
        "",
        " , ",
        "http://nats:4222",
        "nats://",
        f"nats://ann:{SECRET}@host:4222",
        f"nats://ann:x{SECRET}@host:port",
        "nats://host:99999",
        "nats://host/path",
        "nats://good:1,ws://bad:2",
    ],
)
def test_a_url_that_cannot_work_is_refused_at_start_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        NatsBus(Settings(nats_url=url), name="router-1")
    assert "SIE_NATS_URL" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name", "encrypted", "login"),
    [
        ("nats:4222", "nats:4222", False, (None, None, None)),
        ("nats", "nats:4222", False, (None, None, None)),
        ("tls://a:b@host", "host:4222", True, ("a", "b", None)),
        ("nats://abc@[::1]:5", "[::1]:5", False, (None, None, "abc")),
        (f"nats://{QUOTED}:{QUOTED}@h", "h:4222", False, (SECRET, SECRET, None)),
    ],
)
def test_a_url_is_read_as_nats_tools_write_it(
    url: str, name: str, encrypted: bool, login: tuple[str | None, ...]
) -> None:
    (server,) = read_servers(Settings(nats_url=url)).addresses
    assert (server.name, server.encrypted) == (name, encrypted)
    assert (server.user, server.password, server.token) == login


def test_files_that_are_not_there_are_named_at_start(tmp_path: Path) -> None:
    for name, variable in (("nats_credentials", "SIE_NATS_CREDS"), ("nats_tls_ca", "SIE_NATS_TLS_CA")):
        settings = Settings(nats_url="tls://host", **{name: tmp_path / "none"})  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError) as refused:
            read_servers(settings)
        assert variable in str(refused.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def tls(certificates: Certificates, *more: str) -> str:
    files = {"cert_file": certificates.cert, "key_file": certificates.key, "ca_file": certificates.ca}
    return "\n".join(("tls {", *(f'{name}: "{path}"' for name, path in files.items()), *more, "}"))


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_a_server_with_tls_is_spoken_to_in_tls(certificates: Certificates, scheme: str) -> None:
    with NatsServer(tls(certificates)) as server:
        url = f"{scheme}://127.0.0.1:{server.port}"
        async with connected(settings_for(server, nats_url=url, nats_tls_ca=certificates.ca)) as bus:
            await bus.publish(notice(1, "default"))


async def test_a_server_that_asks_for_our_certificate_gets_it(certificates: Certificates) -> None:
    with NatsServer(tls(certificates, "verify: true")) as server:
        settings = settings_for(
            server,
            nats_url=f"tls://127.0.0.1:{server.port}",
            nats_tls_ca=certificates.ca,
            nats_tls_cert=certificates.cert,
            nats_tls_key=certificates.key,
        )
        async with connected(settings) as bus:
            await bus.publish(notice(1, "default"))


async def test_a_server_nobody_vouches_for_is_not_used(certificates: Certificates) -> None:
    with NatsServer(tls(certificates)) as server:
        async with running(settings_for(server, nats_url=f"tls://127.0.0.1:{server.port}")) as bus:
            await wait_trouble(bus, "CERTIFICATE_VERIFY_FAILED")


async def test_tls_in_the_url_is_not_bargained_down_and_the_password_stays_here() -> None:
    """Somebody in between may take the offer of TLS out of the greeting; the log-in must not go out in clear text."""
    sent = b""

    async def plain(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.send_all(
            b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"auth_required":true}\r\n'
        )
        async for chunk in stream:
            sent += chunk

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, plain, [listener])
        port = listener.socket.getsockname()[1]
        settings = Settings(nats_url=f"tls://ann:{QUOTED}@127.0.0.1:{port}", nats_reconnect_s=0.05)
        async with running(settings) as bus:
            await wait_trouble(bus, "no TLS")
        nursery.cancel_scope.cancel(reason="done")
    assert sent == b""


async def test_a_credentials_file_is_what_lets_us_in_and_is_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    operator = Operator.make(tmp_path)
    with NatsServer(operator.options) as server:
        async with connected(settings_for(server, nats_credentials=operator.credentials)) as bus:
            await bus.publish(notice(1, "default"))
        async with running(settings_for(server, nats_reconnect_s=0.01)) as bus:
            await wait_trouble(bus, "Authorization")
    secrets = [line for line in operator.credentials.read_text().splitlines() if line and not line.startswith("--")]
    assert not any(secret in caplog.text for secret in secrets)


async def test_credentials_of_somebody_the_server_does_not_trust_are_told(tmp_path: Path) -> None:
    operator = Operator.make(tmp_path, trusted=False)
    with NatsServer(operator.options) as server:
        async with running(settings_for(server, nats_credentials=operator.credentials, nats_reconnect_s=0.01)) as bus:
            await wait_trouble(bus, "Authorization")
            assert not bus.connected
