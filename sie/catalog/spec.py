"""Model specs: how a client names what it wants, `[bundle:/]org/model[:profile]`, and what that leads to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from sie.catalog.adapters import module_of
from sie.catalog.catalog import Catalog
from sie.catalog.faults import shown
from sie.catalog.model import Model
from sie.errors import BundleConflict, InvalidModelSpec, ModelNotFound, ProfileNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A name, taken apart. `bundle` is in lower case; `model` and `profile` are as typed."""

    bundle: str | None
    model: str
    profile: str | None


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a request goes: `bundle`, the one to use, is of `compatible`, all that can run it, by priority."""

    model: Model
    profile: str | None
    bundle: str
    compatible: tuple[str, ...]

    @cached_property
    def name(self) -> str:
        """As the model is written in the catalog, which is how workers know it: no bundle, no other case."""
        return self.model.sie_id if self.profile is None else f"{self.model.sie_id}:{self.profile}"

    @cached_property
    def names(self) -> frozenset[str]:
        """What a worker may call it once it is resident."""
        return frozenset({self.model.sie_id, self.name, f"{self.model.sie_id}:{self.profile or 'default'}"})

    def created(self, own: str) -> tuple[str, int]:
        """The store and the revision in it that created the profile the request names; `own`: this process's.

        One named in its body is the worker's to look at.
        """
        profile = self.profile or "default"
        return self.model.stores.get(profile, own), self.model.created.get(profile, 0)

    def needed(self, own: str) -> tuple[str, int]:
        """What a worker has to know to know the model: a store and a revision in it; `own`: this process's."""
        store, created = self.created(own)
        return store, self.model.revision if store == own else created


def parse_spec(text: str) -> Spec:
    """Split at the first `:/`, then at the last `:`. Raises InvalidModelSpec if a part that is there is empty."""
    prefix, separator, rest = text.partition(":/")
    bundle = prefix.lower() if separator else None
    model, colon, profile = (rest if separator else text).rpartition(":")
    if not colon:
        model, profile = profile, ""
    if not model or bundle == "" or (colon and not profile):
        raise InvalidModelSpec(f"{shown(text)!r} is not of the form [bundle:/]org/model[:profile]")
    return Spec(bundle=bundle, model=model, profile=profile if colon else None)


def route(catalog: Catalog, spec: Spec, bundle: str | None = None) -> Route:
    """Find the model and the bundle that runs the profile, `default` if the spec names none.

    `bundle` is asked for beside the name; a prefix in the name wins over it. Bundle names compare without case.
    Raises ModelNotFound (also if no bundle can run it), BundleConflict, and ProfileNotFound.
    """
    model = catalog.find(spec.model)
    if model is None:
        raise ModelNotFound(f"there is no model {shown(spec.model)!r}", model=shown(spec.model))
    profile = spec.profile or "default"
    if profile not in model.profiles:
        known = ", ".join(sorted(model.profiles)[:20])
        raise ProfileNotFound(f"{model.sie_id} has no profile {shown(profile)!r}; it has {known}")
    compatible = catalog.bundles_of(model, profile)
    if not compatible:
        module = module_of(model.adapter_path(profile))
        raise ModelNotFound(
            f"{model.sie_id} is known, and no bundle here carries {shown(module)}, which its profile {profile} needs",
            model=model.sie_id,
        )
    asked = spec.bundle or bundle
    if asked is None:
        return Route(model=model, profile=spec.profile, bundle=compatible[0], compatible=compatible)
    for one in compatible:
        if one.lower() == asked.lower():
            return Route(model=model, profile=spec.profile, bundle=one, compatible=compatible)
    raise BundleConflict(
        f"{model.sie_id} does not run in the bundle {shown(asked)!r}, but in {', '.join(compatible)}",
        model=model.sie_id,
        bundle=shown(asked),
        compatible_bundles=list(compatible),
    )
