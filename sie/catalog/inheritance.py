"""Inheritance: `default` exists, and a profile extends one that exists and extends none itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sie.catalog.faults import Faults, shown, under
from sie.catalog.model import Profile


def check_inheritance(profiles: Mapping[str, Profile], names: Iterable[str], faults: Faults) -> None:
    """Check `names` among all the `profiles` of a model; faults go to `faults`."""
    if "default" not in profiles:
        faults.add("profiles.default", "is required: a model needs a profile named default")
    for name in names:
        parent = profiles[name].extends
        if parent is None:
            continue
        path = under(under("profiles", name), "extends")
        if parent == name:
            faults.add(path, "a profile cannot extend itself")
        elif parent not in profiles:
            faults.add(path, f"there is no profile {shown(parent)!r}: it has {', '.join(sorted(profiles)[:20])}")
        elif profiles[parent].extends is not None:
            faults.add(path, f"{parent!r} extends {profiles[parent].extends!r} itself: one level only")
