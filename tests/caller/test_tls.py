"""The same over TLS."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sie.caller.faults import BrokenOff, Silent, Unreachable
from sie.caller.origin import Origin
from tests.caller.conftest import OK, SOON_S, Serve, Talking, ask, open_caller
from tests.caller.test_asking import answer_all, pieces

NAME = "localhost"


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client which trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + pem
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "key.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_requests_go_over_one_connection(serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    origin = await serve(answer_all, server, NAME)
    async with open_caller(client) as caller:
        for body in (b"", b"x" * 1_000_000, pieces(b"a", b"b"), b"x"):
            assert await ask(caller, origin, body) == (200, b"hello")
        assert caller.connections == 1


async def speaks_no_tls(talking: Talking) -> None:
    await talking.stream.receive_some()
    await talking.say(OK)


async def test_who_is_not_trusted_or_has_another_name_is_not_asked(
    serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, client = contexts
    async with open_caller() as trusts_the_system:
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            await ask(trusts_the_system, await serve(answer_all, server, NAME))
    async with open_caller(client) as caller:
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            await ask(caller, await serve(answer_all, server, "127.0.0.1"))
        plain = await serve(speaks_no_tls)
        with pytest.raises(Unreachable):
            await ask(caller, Origin.of(f"https://{NAME}:{plain.port}"))


async def test_an_answer_that_is_cut_is_not_one_that_ends(
    serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Its end could be anybody's doing: there is no farewell of TLS."""
    server, client = contexts

    async def cut(talking: Talking) -> None:
        await talking.hear()
        await talking.say(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        assert isinstance(talking.stream, trio.SSLStream)
        await trio.aclose_forcefully(talking.stream.transport_stream)

    async with open_caller(client) as caller:
        with pytest.raises(BrokenOff):
            await ask(caller, await serve(cut, server, NAME))


async def test_silence_and_a_full_pipe_end_in_time(
    serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, client = contexts

    async def stand_still(talking: Talking) -> None:
        await talking.stream.receive_some(1)
        await trio.sleep_forever()

    async with open_caller(client, silence_s=0.2) as caller:
        origin = await serve(stand_still, server, NAME)
        for body in (b"", b"x" * 30_000_000):
            with pytest.raises(Silent):
                await ask(caller, origin, body)
        assert caller.connections == 0


async def test_an_early_answer_stops_the_upload(serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts

    async def refuse(talking: Talking) -> None:
        await talking.stream.receive_some(10)
        await talking.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\ntoo")
        await talking.hung_up_on()

    async with open_caller(client) as caller:
        assert await ask(caller, await serve(refuse, server, NAME), b"x" * 30_000_000) == (413, b"too")
        assert caller.connections == 0


async def test_cancelled_it_hangs_up(serve: Serve, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    begun, ended = trio.Event(), trio.Event()

    async def wait(talking: Talking) -> None:
        await talking.hear()
        await talking.say(OK[:-1])
        begun.set()
        await talking.hung_up_on()
        ended.set()

    origin = await serve(wait, server, NAME)
    async with open_caller(client) as caller:
        for patience_s in (0.0, 0.001, 0.002, 0.005):
            with trio.move_on_after(patience_s):
                await ask(caller, origin, b"x")
            assert caller.connections == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, caller, origin, b"x")
            await begun.wait()
            nursery.cancel_scope.cancel(reason="enough")
        with trio.fail_after(SOON_S):
            await ended.wait()
        assert caller.connections == 0
