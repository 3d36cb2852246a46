"""What can be wrong with how documents and names are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sie.catalog.document
import sie.catalog.ids
import sie.catalog.judge
import sie.catalog.scalars
import sie.catalog.spec
import sie.files
from sie.catalog.bundle import Bundle
from sie.catalog.canonical import Json
from sie.catalog.catalog import Catalog
from sie.catalog.faults import Faults
from sie.catalog.inheritance import check_inheritance
from sie.catalog.model import Model, Profile
from sie.catalog.nodes import Nodes
from sie.catalog.scalars import NotJson, read_scalar
from sie.catalog.spec import Route, Spec, route
from sie.errors import BundleConflict
from tests.planted.patching import patch

# -- names


def a_bundle_beside_the_model_is_matched_by_case() -> None:
    def exact(catalog: Catalog, spec: Spec, bundle: str | None = None) -> Route:
        if spec.bundle is None and bundle is not None and bundle not in catalog.bundles:
            raise BundleConflict("no such bundle", compatible_bundles=[])
        return route(catalog, spec, bundle)

    patch(sie.catalog.spec, route=exact)


def a_bundle_before_the_model_is_matched_by_case() -> None:
    """It was made lower case when the name was taken apart; the bundle's own name was not."""

    def exact(catalog: Catalog, spec: Spec, bundle: str | None = None) -> Route:
        if spec.bundle is not None and spec.bundle not in catalog.bundles:
            raise BundleConflict("no such bundle", compatible_bundles=[])
        return route(catalog, spec, bundle)

    patch(sie.catalog.spec, route=exact)


def the_bundles_to_run_are_matched_by_case() -> None:
    def chosen(bundles: Sequence[Bundle], names: Sequence[str]) -> Sequence[Bundle]:
        return [one for one in bundles if not names or one.bundle_id in names]

    patch(sie.files, _chosen=chosen)


def an_id_may_have_two_underscores() -> None:
    rule = sie.catalog.ids._broken_rule
    patch(sie.catalog.ids, _broken_rule=lambda text: rule(text.replace("__", "_")))


def ids_that_differ_in_case_are_two_models() -> None:
    patch(Catalog, find=lambda self, name: self._models.get(name))


def the_newest_of_ids_that_differ_in_case_is_found() -> None:
    def find(self: Catalog, name: str) -> Model | None:
        found = [self._models[one] for one in self._spellings.get(name.lower(), ())]
        return max(found, key=lambda one: one.revision, default=None)

    patch(Catalog, find=find)


# -- documents


def what_is_no_json_is_taken_as_text() -> None:
    def lenient(tag: str, text: str) -> Json:
        try:
            return read_scalar(tag, text)
        except NotJson:
            return text

    patch(sie.catalog.document, read_scalar=lenient)


def a_number_of_any_size_is_taken() -> None:
    patch(sie.catalog.scalars, number=lambda value: value)


def a_key_of_any_kind_is_taken() -> None:
    key = Nodes._key
    patch(Nodes, _key=lambda self, value, siblings: key(self, str(value), siblings))


def nobody_looks_for_a_parent() -> None:
    patch(sie.catalog.judge, check_inheritance=lambda profiles, names, faults: None)


def a_parent_may_have_a_parent() -> None:
    def lenient(profiles: Mapping[str, Profile], names: Iterable[str], faults: Faults) -> None:
        extends = {name: one.extends for name, one in profiles.items()}
        check_inheritance(
            profiles, [name for name in names if extends.get(extends[name] or "") in (None, name)], faults
        )

    patch(sie.catalog.judge, check_inheritance=lenient)


def any_class_of_a_module_is_taken() -> None:
    patch(sie.catalog.judge, ADAPTERS={})


def a_profile_that_extends_runs_nowhere() -> None:
    """And is taken all the same."""
    bundles_of, check = Catalog.bundles_of, sie.catalog.judge._check_adapter

    def own_alone(self: Catalog, model: Model, profile: str | None = None) -> tuple[str, ...]:
        if profile is not None and model.profiles[profile].extends is not None:
            return ()
        return bundles_of(self, model, profile)

    def lenient(catalog: Catalog, model: Model, name: str, faults: Faults) -> None:
        if model.profiles[name].extends is None:
            check(catalog, model, name, faults)

    patch(Catalog, bundles_of=own_alone)
    patch(sie.catalog.judge, _check_adapter=lenient)
