"""What is so at the moment of a scrape: rules, files, certificate, health."""

from liquidation.metrics import FILES
from liquidation.metrics.prometheus import Metrics
from tests.service.metrics.scrapes import rendered


def test_only_the_version_in_force_is_told() -> None:
    metrics = Metrics()
    metrics.rules_in_force("2026-1", None)
    loaded = rendered(metrics).value("liquidation_rules_loaded_timestamp_seconds")
    metrics.rules_in_force("2026-1", "2026-2")
    same = rendered(metrics)
    metrics.rules_in_force("2026-2", "2026-3")

    seen = rendered(metrics)

    assert same.value("liquidation_rules_loaded_timestamp_seconds") == loaded
    assert same.series("liquidation_candidate_rules_info") == {("2026-2", "0"): 1}
    assert seen.series("liquidation_rules_info") == {("2026-2", "0"): 1}
    assert seen.series("liquidation_candidate_rules_info") == {("2026-3", "0"): 1}
    assert seen.value("liquidation_rules_loaded_timestamp_seconds") > loaded


def test_what_is_not_there_has_no_series() -> None:
    seen = rendered(Metrics())

    assert "liquidation_candidate_rules_info" not in seen.names
    assert "liquidation_tls_certificate_not_after_timestamp_seconds" not in seen.names


def test_the_end_of_the_certificate_in_use_is_told() -> None:
    metrics = Metrics()
    metrics.certificate(1_800_000_000.5)

    seen = rendered(metrics)

    assert seen.value("liquidation_tls_certificate_not_after_timestamp_seconds") == 1_800_000_000.5


def test_a_file_that_is_not_sound_is_a_problem_until_it_is() -> None:
    metrics = Metrics()
    before = rendered(metrics)
    metrics.reloaded("api_keys", "is not JSON")
    broken = rendered(metrics)
    metrics.reloaded("api_keys", "")

    mended = rendered(metrics)

    assert before.series("liquidation_reload_problem") == {(file, "0"): 0 for file in FILES}
    assert broken.counted("liquidation_reload_problem") == {("api_keys", "0"): 1}
    assert broken.counted("liquidation_reloads_total") == {("api_keys", "failure", "0"): 1}
    assert mended.counted("liquidation_reload_problem") == {}
    assert mended.counted("liquidation_reloads_total") == {
        ("api_keys", "failure", "0"): 1,
        ("api_keys", "success", "0"): 1,
    }


def test_health_and_active_claims_are_told_as_they_were_last() -> None:
    metrics = Metrics()
    values = []
    for serving, active in ((True, 3), (False, 0)):
        metrics.serves(serving)
        metrics.claims_active(active)
        seen = rendered(metrics)
        values.append((seen.value("liquidation_serving"), seen.value("liquidation_claims_active")))

    assert values == [(1, 3), (0, 0)]


def test_what_runs_is_told() -> None:
    ((labels, value),) = rendered(Metrics()).series("liquidation_build_info").items()

    assert value == 1
    assert all(labels)
    assert len(labels) == 4


def test_the_process_and_its_garbage_collector_are_told() -> None:
    names = rendered(Metrics()).names

    assert names >= {"process_resident_memory_bytes", "process_cpu_seconds_total"}
    assert names >= {"python_gc_collections_total", "python_info"}
