"""Known ways to lose that a simulated cluster cannot show, each planted in our own code as a small patch.

They are of what it replaces or leaves out: the disk, documents, names, what stands in a message, a real NATS. Each is a
function that patches the process it is called in, for good: call it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.planted import documents, messages, stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """`what`: in a sentence. `like`: where it comes from; `plant`: does it to this process.

    `clauses`: what `sie serve` then fails of the suite, or `test`: a test of this project that then fails.
    """

    what: str
    like: str
    plant: Callable[[], None]
    clauses: frozenset[str] = frozenset()
    test: str = ""

    @property
    def seen_by(self) -> str:
        return ", ".join(sorted(self.clauses)) or f"`{self.test}`"


def _seen(plant: Callable[[], None], like: str, what: str, *, by: str) -> Mutation:
    """`by`: the test, or the clauses."""
    if "::" in by:
        return Mutation(what=what, like=like, plant=plant, test=by)
    return Mutation(what=what, like=like, plant=plant, clauses=frozenset(by.split()))


MUTATIONS: Mapping[str, Mutation] = {
    one.plant.__name__.replace("_", "-"): one
    for one in (
        _seen(
            stores.an_entry_is_written_where_it_is_read,
            "torn read",
            "an entry's file grows under its own name",
            by="tests/steps/test_disk.py::test_an_entry_is_whole_or_absent_and_the_same_put_again_makes_it_certain",
        ),
        _seen(
            stores.an_entry_is_there_before_it_is_durable,
            "torn read",
            "an entry gets its name before its content is on the disk",
            by="tests/store/test_local.py::test_an_entry_is_durable_before_it_is_visible_and_its_name_before_it_is_acknowledged",
        ),
        _seen(
            stores.half_an_entry_is_the_end_of_the_log,
            "torn read",
            "an entry that is torn counts as one that is not there",
            by="tests/store/test_damage.py::test_what_reading_shows_is_refused_by_whoever_reads_it",
        ),
        _seen(
            stores.a_snapshot_is_written_over_another,
            "torn read",
            "a snapshot's file grows under its own name",
            by="tests/store/test_local.py::test_a_snapshot_is_durable_before_it_replaces_another",
        ),
        _seen(
            stores.half_a_snapshot_counts,
            "torn read",
            "a snapshot is taken as it is, without its checksum",
            by="tests/store/test_damage.py::test_a_bad_snapshot_is_named_in_a_warning_and_an_older_one_or_the_log_is_used",
        ),
        _seen(
            stores.an_old_epoch_is_read_to_the_letter,
            "epoch file",
            "an epoch with a line break after it counts as none",
            by="tests/store/test_legacy.py::test_an_epoch_is_read_with_or_without_a_newline",
        ),
        _seen(
            stores.an_old_epoch_that_is_no_number_ends_all_writing,
            "epoch file",
            "beside an epoch that is no number every change is refused with 503",
            by="tests/planted/test_gaps.py::test_changes_are_taken_whatever_an_older_release_left_for_its_epoch",
        ),
        _seen(
            stores.one_bad_document_keeps_out_all_of_an_old_store,
            "poison",
            "a document that cannot be read keeps an older release's store from being taken over",
            by="tests/test_engine.py::test_a_store_of_v0_1_10_is_taken_over_once_and_left_as_it_was",
        ),
        _seen(documents.what_is_no_json_is_taken_as_text, "poison", "a date is taken as text", by="X-052 X-053"),
        _seen(documents.a_number_of_any_size_is_taken, "poison", "infinity, or 65 bits, is taken", by="X-053"),
        _seen(documents.a_key_of_any_kind_is_taken, "poison", "a key that is a number is taken", by="X-052"),
        _seen(
            messages.an_announced_entry_is_not_looked_into,
            "poison",
            "what a message brings is taken without looking into it",
            by="tests/wire/test_notification.py::test_an_entry_that_could_harm_whoever_folds_it_is_refused",
        ),
        _seen(
            documents.a_bundle_before_the_model_is_matched_by_case,
            "bundle names",
            "a bundle before the model is matched by case, beside it not",
            by="tests/planted/test_gaps.py::test_a_bundle_with_capitals_in_its_own_name_is_found_before_a_model",
        ),
        _seen(
            documents.a_bundle_beside_the_model_is_matched_by_case,
            "bundle names",
            "a bundle beside the model is matched by case, before it not",
            by="tests/catalog/test_spec.py::test_a_bundle_asked_for_is_used_whatever_its_case_and_the_prefix_wins",
        ),
        _seen(
            documents.the_bundles_to_run_are_matched_by_case,
            "bundle names",
            "the bundles that a process is told to run are matched by case, in a request not",
            by="tests/catalog/test_files.py::test_a_process_runs_the_bundles_it_is_told_to",
        ),
        _seen(
            documents.an_id_may_have_two_underscores,
            "split checks of ids",
            "an id may have two underscores",
            by="X-021",
        ),
        _seen(
            documents.ids_that_differ_in_case_are_two_models, "hijacked name", "ids may differ in case only", by="X-024"
        ),
        _seen(
            documents.the_newest_of_ids_that_differ_in_case_is_found,
            "hijacked name",
            "of ids that differ in case only the newest is found, whichever was asked for",
            by="tests/planted/test_gaps.py::test_of_ids_that_differ_in_case_each_is_found_by_its_own_and_the_first_by_any_other",
        ),
        _seen(
            documents.nobody_looks_for_a_parent, "extends", "a parent need not be there, nor default", by="X-059 X-060"
        ),
        _seen(documents.a_parent_may_have_a_parent, "extends", "a parent may have a parent", by="X-060"),
        _seen(documents.any_class_of_a_module_is_taken, "extends", "a class that no module has is taken", by="X-056"),
        _seen(
            documents.a_profile_that_extends_runs_nowhere,
            "extends",
            "a profile that extends is in no bundle",
            by="C-012 X-056",
        ),
        _seen(
            messages.nobody_asks_whether_nats_is_there,
            "NATS away",
            "a change is taken although it cannot be told",
            by="tests/api/test_nats.py::test_a_service_starts_without_nats_and_takes_changes_once_it_is_there",
        ),
        _seen(
            messages.what_was_sent_counts_as_received,
            "NATS drops",
            "a message counts as published once it is written to the socket",
            by="tests/bus/test_nats_faults.py::test_a_frozen_server_costs_a_publish_its_deadline_and_is_noticed_and_found_again",
        ),
        _seen(
            messages.nobody_is_told_that_it_was_not_published,
            "NATS drops",
            "what NATS loses between the check and the publish is answered as if all were well",
            by="tests/router/test_writer.py::test_a_bus_that_fails_after_the_append_is_a_warning",
        ),
        _seen(
            messages.a_seal_is_not_looked_at,
            "forged message",
            "a seal is not looked at",
            by="tests/bus/test_nats_strangers.py::test_with_a_key_nothing_that_a_stranger_says_has_any_effect",
        ),
        _seen(
            messages.what_bears_no_seal_is_let_through,
            "forged message",
            "a message without a seal is let through",
            by="tests/bus/test_nats_strangers.py::test_with_a_key_nothing_that_a_stranger_says_has_any_effect",
        ),
        _seen(
            messages.a_seal_is_good_for_any_subject,
            "forged message",
            "a true message may be said again on another subject",
            by="tests/bus/test_nats_strangers.py::test_with_a_key_a_true_message_changed_or_said_elsewhere_has_no_effect",
        ),
        _seen(
            messages.an_answer_needs_no_seal,
            "forged message",
            "who answers first is believed",
            by="tests/bus/test_nats_sync.py::test_with_a_key_strangers_are_neither_answered_nor_believed",
        ),
        _seen(
            messages.where_a_router_stands_needs_no_seal,
            "forged message",
            "where a router stands may be said by anybody",
            by="tests/wire/test_heads.py::test_one_meant_for_another_subject_is_forged",
        ),
        _seen(
            messages.nobody_starts_without_nats,
            "NATS down at start",
            "a process waits for NATS before it serves",
            by="tests/bus/test_nats_faults.py::test_without_a_server_the_bus_starts_at_once_says_why_and_connects_once_there_is_one",
        ),
    )
}
