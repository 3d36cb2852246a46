"""Faults: everything that is wrong with a document, each with its place, collected before anything is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sie.errors import ValidationError

# A hostile document can hold thousands of faults, each under a long path; an answer that lists them helps nobody.
_LISTED = 100


def shown(text: str, most: int = 80) -> str:
    """Text of a stranger's as a message may hold it: shortened, control characters escaped."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in cut)


def under(path: str, key: str) -> str:
    """The path of a member: `profiles` and `default` give `profiles.default`."""
    return f"{path}.{shown(key)}" if path else shown(key)


def listed(details: Iterable[Mapping[str, str]]) -> str:
    """Faults on one line, for a log."""
    return "; ".join(f"{one['path']}: {one['message']}" if one["path"] else one["message"] for one in details)


class Faults:
    """Collects faults in the order they are found; after the first hundred it only counts them."""

    def __init__(self, known: Sequence[dict[str, str]] = ()) -> None:
        self._listed: list[dict[str, str]] = list(known)
        self._paths = {one["path"] for one in known}
        self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._listed)

    def add(self, path: str | Callable[[], str], message: str) -> None:
        """Note one; `path` may be a function, since building a path nobody will read costs time.

        One fault a place: what is said of a place that already has one only follows from it.
        """
        if len(self._listed) >= _LISTED:
            self._unlisted += 1
            return
        place = path if isinstance(path, str) else path()
        if place not in self._paths:
            self._paths.add(place)
            self._listed.append({"path": place, "message": message})

    def details(self) -> list[dict[str, str]]:
        """Each `{"path", "message"}`."""
        more = [{"path": "", "message": f"and {self._unlisted} more"}] if self._unlisted else []
        return [*self._listed, *more]

    def error(self, hint: str = "") -> ValidationError:
        """All of them as one error, whose message is the first."""
        first, *rest = self._listed
        message = listed([first])
        others = len(rest) + self._unlisted
        if others:
            message += f" (and {others} more)"
        return ValidationError(message + hint, self.details())
