"""One case, played against a target: its steps in order, up to the first thing that is not as expected."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from spec.answer import Answer, Unreadable, judge
from spec.case import METHODS, Case, requests_of
from spec.config_hash import hash_of_bundle
from spec.expect import Difference, differences, shown
from spec.fill import UnknownVariable, fill
from spec.nats import Message, NatsFailed, Subscriber, open_subscriber
from spec.paths import NoneLikeIt, NoSuchItem, look_up
from spec.refusal import cure, is_refusal
from spec.request import Request, read_request
from spec.restart import Restart, RestartFailed
from spec.status import NoStatus, open_status
from spec.target import Target
from spec.web import NoAnswer, send

_AGAIN_S = 0.05  # between two tries of a `repeat_until`
_HEARD_S = 2.0
_UNHEARD_S = 0.5


class Failed(Exception):
    """Something is not as the case expects it."""

    def __init__(self, doing: str, expected: str, actual: str) -> None:
        super().__init__(f"{doing}: expected {expected}, got {actual}")
        self.doing, self.expected, self.actual = doing, expected, actual


class Skipped(Exception):
    """The case cannot be judged here. The text says why."""


@dataclass
class Play:
    """One case in progress. `deadline` by time.monotonic(); restarting the target moves it.

    `restart`: of a case that restarts the target; None again once it has got there.
    """

    case: Case
    target: Target
    deadline: float
    run_id: str
    restart: Restart | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    subscriber: Subscriber | None = None
    unused: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        tokens = self.target.addresses.tokens
        self.variables |= {
            "model": f"conformance-{self.run_id}/{self.case.stem}",
            "unique": f"u{secrets.token_hex(6)}",
            "adapter": self.target.adapter,
            "bundle": self.target.bundle,
            "admin_token": tokens.admin or "",
            "auth_token": tokens.reader or "",
        }

    def run(self) -> None:
        """Raises Failed at the first thing that is not as expected, Skipped where that cannot be told."""
        with ExitStack() as stack:
            for number, raw in enumerate(self.case.steps, 1):
                try:
                    self._step(fill(raw, self.variables), stack)
                except Failed as failed:
                    raise Failed(f"step {number}: {failed.doing}", failed.expected, failed.actual) from None
                except NoAnswer as fault:
                    raise Failed(f"step {number}: {_verb(raw)}", "an answer", str(fault)) from None
                except (NatsFailed, NoStatus, Unreadable) as fault:
                    raise Failed(f"step {number}: {_verb(raw)}", "to go on", str(fault)) from None
                except UnknownVariable as fault:
                    raise Failed(f"step {number}: {_verb(raw)}", "a case that can be played", str(fault)) from None

    def _step(self, step: Mapping[str, Any], stack: ExitStack) -> None:
        if "repeat_until" in step:
            self._repeat(step["repeat_until"])
        elif "together" in step:
            self._together(step)
        elif "subscribe" in step:
            self._subscribe(step["subscribe"], stack)
        elif "heard" in step:
            self._heard(step)
        elif "unheard" in step:
            self._unheard(step["unheard"])
        elif "status" in step:
            self._status(step)
        elif "bundle_hash" in step:
            self._bundle_hash(step["bundle_hash"])
        elif "restart" in step:
            self._restart()
        else:
            self._request(step)
        for request in requests_of(step):
            if "cured" in request:
                self._cure(request)

    # -- HTTP

    def _request(self, step: Mapping[str, Any]) -> None:
        request = self._read(step)
        before = self._model() if is_refusal(step) and step.get("unchanged", True) else None
        answer = self._send(request)
        self._check(request, step, answer)
        if before is not None and answer.status >= 400 and (after := self._model()) != before:
            raise Failed(f"{request}\n\nthen GET the model", f"what was there before: {before}", after)

    def _cure(self, step: Mapping[str, Any]) -> None:
        request = self._read(cure(step))
        answer = self._send(request)
        if answer.status // 100 != 2:
            doing = f"the same without its fault, which else hides behind another: {request}"
            raise Failed(doing, "a status of 2xx", str(answer))

    def _repeat(self, step: Mapping[str, Any]) -> None:
        request = self._read(step)
        until = min(self.deadline, time.monotonic() + step["within_s"])
        while True:
            late = time.monotonic() >= until
            try:
                answer = self._send(request)
            except NoAnswer:
                if late:
                    raise
            else:
                found = judge(step["expect"], answer)
                if not found:
                    return self._save(step.get("save", {}), answer)
                if late:
                    raise _failed(f"{request}\nagain and again for {step['within_s']} s", found, str(answer))
            time.sleep(_AGAIN_S)

    def _together(self, step: Mapping[str, Any]) -> None:
        single = [one for one in step["together"] for _ in range(one.get("times", 1))]
        requests = [self._read(one) for one in single]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(self._send, requests))
        for one, request, answer in zip(single, requests, answers, strict=True):
            self._check(request, one, answer)
        if "expect_statuses" in step:
            statuses = [one.status for one in answers]
            found = differences(step["expect_statuses"], statuses, "statuses")
            if found:
                doing = "together: " + "\n\n".join(map(str, requests))
                raise _failed(doing, found, "\n\n".join(map(str, answers)))

    def _check(self, request: Request, step: Mapping[str, Any], answer: Answer) -> None:
        if found := judge(step.get("expect", {}), answer):
            raise _failed(str(request), found, str(answer))
        self._save(step.get("save", {}), answer)

    def _save(self, wanted: Mapping[str, str], answer: Answer) -> None:
        for variable, path in wanted.items():
            part, _, rest = path.partition(".")
            self._keep(variable, answer.document(part), rest)

    def _keep(self, variable: str, document: Any, path: str) -> None:
        try:
            self.variables[variable] = look_up(document, path)
        except NoneLikeIt as fault:
            raise Skipped(f"the target has {fault}") from None
        except NoSuchItem as fault:
            raise Failed(f"reading {path}", "to find it", f"{fault} in {shown(document)}") from None

    def _model(self) -> str:
        """What the target shows of the case's own model."""
        answer = self._send(self._read({"get": f"/v1/configs/models/{self.variables['model']}"}))
        return f"{answer.status} {answer.text if answer.status == 200 else ''}"

    def _read(self, step: Mapping[str, Any]) -> Request:
        return read_request(step, self.target.addresses.tokens)

    def _send(self, request: Request) -> Answer:
        at = self.target.addresses
        base = at.router2 if request.router == "router2" and at.router2 else at.router
        return send(base, request, deadline=self.deadline)

    # -- the bus, a worker, the process

    def _subscribe(self, subjects: list[str], stack: ExitStack) -> None:
        if self.subscriber is None:
            url = self.target.addresses.nats or ""
            self.subscriber = stack.enter_context(open_subscriber(url, deadline=self.deadline))
        for subject in subjects:
            self.subscriber.subscribe(subject, deadline=self.deadline)

    def _heard(self, step: Mapping[str, Any]) -> None:
        wanted = step["heard"]
        until = min(self.deadline, time.monotonic() + wanted.get("within_s", _HEARD_S))
        passed: list[Message] = []
        while (message := self._next(until)) is not None:
            if _fits(wanted, message):
                self.unused = passed + self.unused
                for variable, path in step.get("save", {}).items():
                    self._keep(variable, message.json, path.partition(".")[2])
                return
            passed.append(message)
        self.unused = passed
        raise Failed(f"listening on {wanted['on']}", shown(wanted.get("json", "a message")), _told(passed))

    def _unheard(self, wanted: Mapping[str, Any]) -> None:
        until = min(self.deadline, time.monotonic() + wanted.get("within_s", _UNHEARD_S))
        passed: list[Message] = []
        while (message := self._next(until)) is not None:
            if _fits(wanted, message):
                raise Failed(f"listening on {wanted['on']}", "no such message", _told([message]))
            passed.append(message)
        self.unused = passed

    def _next(self, until: float) -> Message | None:
        if self.unused:
            return self.unused.pop(0)
        if self.subscriber is None:
            raise Failed("listening", "a case that subscribes first", "one that does not")
        return self.subscriber.hear(deadline=until)

    def _status(self, step: Mapping[str, Any]) -> None:
        wanted, at = step["status"], self.target.addresses
        until = min(self.deadline, time.monotonic() + wanted["within_s"])
        last: Any = "no message"
        with open_status(at.worker or "", at.tokens.shown_by("reader"), deadline=until) as messages:
            while (said := messages.next(deadline=until)) is not None:
                last = Message("", said.encode()).json
                if not differences(wanted["json"], last, document=last):
                    for variable, path in step.get("save", {}).items():
                        self._keep(variable, last, path.partition(".")[2])
                    return
        found = differences(wanted["json"], last, document=last)
        raise _failed(f"reading the worker's /ws/status for {wanted['within_s']} s", found, shown(last))

    def _bundle_hash(self, wanted: Mapping[str, str]) -> None:
        def get(path: str) -> Answer:
            answer = self._send(self._read({"get": path}))
            if answer.status != 200:
                raise Failed(f"GET {path}", "status 200", str(answer))
            return answer

        self.variables[wanted["save"]] = hash_of_bundle(wanted["bundle"], get)

    def _restart(self) -> None:
        assert self.restart is not None, "a case that restarts the target is played with a restart"
        restart, self.restart = self.restart, None
        try:
            self.deadline += restart.arrive()
        except RestartFailed as fault:
            command = self.target.addresses.restart
            raise Failed(f"restarting: {command}", "exit status 0 in time", str(fault)) from None


def _verb(step: Mapping[str, Any]) -> str:
    """What a step does, in brief."""
    requests = [f"{key.upper()} {one[key]}" for one in requests_of(step) for key in one.keys() & METHODS]
    return ", ".join(requests or step)


def _fits(wanted: Mapping[str, Any], message: Message) -> bool:
    return message.subject == wanted["on"] and not differences(wanted.get("json", {"$not": None}), message.json)


def _failed(doing: str, found: list[Difference], actual: str) -> Failed:
    return Failed(doing, "\n".join(f"{one.at}: {one.expected}" for one in found), f"{_briefly(found)}\n{actual}")


def _briefly(found: list[Difference]) -> str:
    return "\n".join(f"{one.at}: {one.actual}" for one in found)


def _told(messages: list[Message]) -> str:
    return "\n".join(f"{one.subject} {shown(one.json)}" for one in messages) or "nothing"
