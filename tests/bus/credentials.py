"""What an operator hands out with NATS's own tools: a server that trusts it, and a user's credentials file."""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nkeys


@dataclass(frozen=True)
class _Key:
    seed: bytes
    public: str

    @staticmethod
    def make(prefix: int) -> _Key:
        seed: bytes = nkeys.encode_seed(os.urandom(32), prefix)
        return _Key(seed, nkeys.from_seed(bytearray(seed)).public_key.decode())

    def sign(self, about: _Key, nats: dict[str, Any]) -> str:
        """A JWT of the key about another, or itself. In the form of version 2 of NATS claims."""
        claims = {"iss": self.public, "sub": about.public, "iat": int(time.time()), "jti": "1", "name": "test"}
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps({**claims, 'nats': nats}).encode())}"
        signature = nkeys.from_seed(bytearray(self.seed)).sign(text.encode())
        return f"{text}.{_encoded(signature)}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass(frozen=True)
class Operator:
    """`options`: of a server that lets in whom the operator's one account has let in. `credentials`: of such a user."""

    options: str
    credentials: Path

    @staticmethod
    def make(folder: Path, *, trusted: bool = True) -> Operator:
        """`trusted`: whether the credentials are of the account that the server knows."""
        operator, account, other, user = (
            _Key.make(prefix)
            for prefix in (
                nkeys.PREFIX_BYTE_OPERATOR,
                nkeys.PREFIX_BYTE_ACCOUNT,
                nkeys.PREFIX_BYTE_ACCOUNT,
                nkeys.PREFIX_BYTE_USER,
            )
        )
        unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        limits = {**unlimited, "wildcards": True}
        of_account = operator.sign(account, {"type": "account", "version": 2, "limits": limits})
        lines = (
            f"operator: {operator.sign(operator, {'type': 'operator', 'version': 2})}",
            "resolver: MEMORY",
            f"resolver_preload: {{ {account.public}: {of_account} }}",
        )
        rights = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}
        jwt = (account if trusted else other).sign(user, rights)
        file = folder / "user.creds"
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return Operator("\n".join(lines), file)
