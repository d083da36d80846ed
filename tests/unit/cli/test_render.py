"""Rendering: every line tells a new user what happened, why, and what to do next."""

from __future__ import annotations

import pytest

from batchexport.cli import render, render_plan
from batchexport.cli.render_cache import stats_lines
from batchexport.core.errors import ExitCode, Kind
from batchexport.core.plan import JobState, Plan, PlannedJob, PlannedStage
from batchexport.core.report import Outcome, StageReport
from batchexport.store.store import StoreStats
from batchexport.toolchain.doctor import Check
from support.reports import built, cached, failure, job, run_report, stage


def planned(name: str, *, delivered: bool = False, **stages: PlannedStage) -> PlannedJob:
    return PlannedJob(name=name, stages=stages, delivered=delivered)


RUNS = PlannedStage(action="run", reason="source: attn.py changed", expected_seconds=12.0)
MAYBE = PlannedStage(action="maybe", reason="depends on the export", expected_seconds=6.5)
STANDS = PlannedStage(action="cached", reason="nothing changed")


# --- a finished job


def test_what_a_draft_export_found_stands_below_the_remedy() -> None:
    lines = render.failure_lines(failure(remedy="rewrite it", findings=("guard: n < 9", "no fake kernel: my.op")))
    assert lines[2:4] == [f"{' ' * 10}findings  guard: n < 9", f"{' ' * 20}no fake kernel: my.op"]


def test_a_built_job_says_what_each_stage_came_to_and_why() -> None:
    stages = {"export": built(1.2, "source: attn.py changed"), "compile": cached(), "verify": built(0.4, "")}
    assert render.job_line(job("bert@cpu", stages=stages)) == (
        "ok        bert@cpu  export 1.2s (source: attn.py changed)  compile cached  verify 0.4s"
    )


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("never built", ""),
        ("forced", ""),
        ("never built; uncacheable: the network is read", " (uncacheable: the network is read)"),
        ("models.py changed", " (models.py changed)"),
    ],
)
def test_a_first_build_needs_no_reason(reason: str, shown: str) -> None:
    assert render.job_line(job("a", stages={"export": built(0.3, reason)})) == f"ok        a  export 0.3s{shown}"


def test_every_reason_is_told_on_request() -> None:
    stages = {"export": built(0.3, "never built"), "compile": cached("program unchanged")}
    assert render.job_line(job("a", stages=stages), reasons=True) == (
        "ok        a  export built 0.3s (never built)  compile cached (program unchanged)"
    )


def test_new_weights_packed_around_stored_code_are_told_from_a_cached_package() -> None:
    stages = {"export": built(0.3, "w.pt changed"), "compile": stage(Outcome.CACHED, "new weights", 0.4)}
    assert render.job_line(job("a", stages=stages)).endswith("export 0.3s (w.pt changed)  compile packed 0.4s")


def test_a_stage_that_a_delivered_job_did_not_need_is_left_out() -> None:
    stages = {"export": built(0.3, "never built"), "compile": stage(Outcome.SKIPPED, 'compile format is "none"')}
    assert render.job_line(job("a", stages=stages)) == "ok        a  export 0.3s"


def test_a_job_that_needed_nothing_says_so_in_one_word() -> None:
    assert render.job_line(job("bert@cpu")) == "ok        bert@cpu  cached"


def test_a_job_without_a_compile_stage_to_run_is_cached_too() -> None:
    stages = {"export": cached(), "compile": stage(Outcome.SKIPPED, 'compile format is "none"')}
    assert render.job_line(job(stages=stages)).endswith("  cached")


def test_reasons_tell_why_cached_stages_are_cached() -> None:
    assert render.job_line(job(stages={"export": cached("trace of 2 h ago")}), reasons=True).endswith(
        "export cached (trace of 2 h ago)"
    )


def test_stages_come_in_the_order_of_the_work() -> None:
    stages = {"verify": built(), "compile": built(), "export": built()}
    line = render.job_line(job(stages=stages))
    assert line.index("export") < line.index("compile") < line.index("verify")


@pytest.mark.parametrize(("outcome", "word"), [(Outcome.SKIPPED, "skipped"), (Outcome.CANCELLED, "cancelled")])
def test_a_job_that_was_not_delivered_says_why(outcome: Outcome, word: str) -> None:
    stages = {"export": cached(), "compile": stage(outcome, "no CUDA device")}
    line = render.job_line(job("bert@cuda", ok=False, stages=stages))
    assert line.split()[0] == word
    assert f"compile {word} (no CUDA device)" in line


def test_a_failed_job_shows_everything_a_user_needs() -> None:
    error = failure(remedy="install g++", log="../cache/x.log", reproduce="batchexport run m.toml --only bert@cpu")
    stages = {"export": built(), "compile": stage(Outcome.FAILED, "first time", 0.3)}
    failed = job("bert@cpu", error=error, stages=stages)
    assert render.job_line(failed, base="models") == (
        "failed    bert@cpu  export 1.2s (first time)  compile failed 0.3s  toolchain: g++ is not on PATH"
        " (log: cache/x.log)"
    )
    assert render.all_failure_lines(run_report(failed), base="models") == [
        "",
        "1 failure: 1 toolchain",
        "",
        "  bert@cpu",
        "          error     g++ is not on PATH (stage: compile, kind: toolchain)",
        "          remedy    install g++",
        "          log       cache/x.log",
        "          reproduce batchexport run m.toml --only bert@cpu",
        "",
    ]


def test_an_expected_failure_is_told_in_one_line_and_in_full_with_all_reasons() -> None:
    error = failure(message="no such operator\nand more", remedy="register it", log="../cache/x.log")
    stages = {"export": built(), "compile": stage(Outcome.FAILED, "first time", 0.3)}
    expected = job("bert@cpu", error=error, expected=True, stages=stages)
    assert render.job_lines(expected) == [
        "expected  bert@cpu  export 1.2s (first time)  compile failed 0.3s  toolchain: no such operator"
    ]
    assert "          remedy    register it" in render.job_lines(expected, reasons=True)


def test_a_warning_is_shown_when_a_stage_ran_and_with_all_reasons() -> None:
    warned = {"warnings": ("each call draws random numbers: aten.rand.default",)}
    shown = "          warning   each call draws random numbers: aten.rand.default"
    ran = job("noise@cpu", stages={"export": built(), "compile": cached()}, **warned)
    assert render.job_lines(ran)[1:] == [shown]
    assert len(render.job_lines(job("noise@cpu", **warned))) == 1
    assert render.job_lines(job("noise@cpu", **warned), reasons=True)[1:] == [shown]


def test_a_remedy_to_paste_keeps_its_lines() -> None:
    lines = render.failure_lines(failure(remedy="[entry.dims]\nseq = { min = 8 }"))
    assert lines[1:] == ["          remedy    [entry.dims]", "                    seq = { min = 8 }"]


def test_an_absolute_log_path_is_left_alone() -> None:
    assert render.failure_lines(failure(log="/logs/x.log"), base="models")[-1].endswith(" /logs/x.log")


def test_control_characters_never_reach_the_terminal() -> None:
    error = failure(message="boom\x1b[2J", remedy="a\x07", log="l\x1bog", reproduce="r\rm")
    stages = {"export": built(1, "why\x1b]0;title\x07"), "compile": stage(Outcome.FAILED)}
    shown = [
        *render.job_lines(job("evil\x1b[31m\n", error=error, stages=stages)),
        *render.all_failure_lines(run_report(job("e\x1b", error=error))),
        *render.duration_lines(run_report(job("e\x1b", stages={"export": built()})), 0),
        render.summary_line(run_report(path="\x1b.json")),
        *render_plan.plan_lines(Plan(manifest="m", jobs=(planned("p\x1b", export=RUNS),))),
        *render_plan.explain_lines(planned("p\x1b", export=PlannedStage(action="run", reason="\x1b"))),
        *render_plan.ls_lines([JobState(name="\x1b", state="stale", path="\x1b", detail="\x1b")]),
        *render.doctor_lines([Check(name="c", state="fail", detail="\x1b", remedy="\x1b")]),
        *render.error_lines("\x1b\nb"),
        render.stage_started_line("\x1b", "export", "\x1b"),
        render.stage_finished_line("\x1b", "export", 1),
    ]
    assert all(line.isprintable() for line in shown)


# --- the end of a run


def test_the_last_line_names_counts_seconds_and_the_report() -> None:
    report = run_report(
        job("a", stages={"export": built(), "compile": cached()}),
        job("b", stages={"export": stage(Outcome.FAILED)}, error=failure(stage="export")),
    )
    assert render.summary_line(report) == (
        "2 jobs: 1 ok, 1 failed, 0 skipped (export 1 built, 0 cached, 1 failed; compile 0 built, 1 cached)"
        " in 12.3 s; report: dist/report.json"
    )


def test_the_end_of_a_run_tells_how_many_failures_were_expected() -> None:
    report = run_report(job("a"), job("b", error=failure()), job("c", error=failure(), expected=True))
    assert render.summary_line(report).startswith("3 jobs: 1 ok, 2 failed (1 as expected), 0 skipped")


def test_a_run_that_had_nothing_to_do_says_so() -> None:
    assert render.summary_line(run_report(job(), seconds=0.24)) == (
        "1 job: 1 ok, 0 failed, 0 skipped (everything cached) in 0.2 s; report: dist/report.json"
    )


def test_a_skipped_job_is_not_called_cached() -> None:
    skipped = job(ok=False, stages={"export": cached(), "compile": stage(Outcome.SKIPPED)})
    assert "everything cached" not in render.summary_line(run_report(job(), skipped))


def test_a_long_run_also_gives_its_time_for_humans() -> None:
    assert " in 754.2 s (12m 34s); " in render.summary_line(run_report(job(), seconds=754.2))


def test_an_interrupted_run_says_so_first() -> None:
    report = run_report(
        job("a"),
        job("b", ok=False, stages={"export": stage(Outcome.CANCELLED)}),
        exit_code=ExitCode.INTERRUPTED,
    )
    line = render.summary_line(report)
    assert line.startswith("interrupted; 2 jobs: 1 ok, 0 failed, 1 not finished (")


def test_failures_are_listed_once_worst_first_without_expected_ones() -> None:
    jobs = [
        job(name, error=failure(kind=kind), expected=name == "d")
        for name, kind in (
            ("a", Kind.EXPORT),
            ("b", Kind.OOM),
            ("c", Kind.CRASH),
            ("d", Kind.CRASH),
            ("e", Kind.EXPORT),
        )
    ]
    lines = render.all_failure_lines(run_report(*jobs))
    assert lines[1] == "4 failures, worst first: 1 crash, 1 oom, 2 export"
    assert [line.strip() for line in lines[2:] if line.startswith("  ") and line[2] != " "] == ["c", "b", "a", "e"]


def test_a_run_without_unexpected_failures_lists_none() -> None:
    assert render.all_failure_lines(run_report(job("a", error=failure(), expected=True))) == []


def test_the_slowest_stages_come_first_and_cached_ones_not_at_all() -> None:
    report = run_report(
        job("a", stages={"export": built(1), "compile": built(70)}), job("b", stages={"export": built(2)})
    )
    assert render.duration_lines(report, 2) == [
        "slowest 2 stages of 3",
        "   1m 10s  compile  a",
        "     2.0s  export   b",
        "",
    ]
    assert len(render.duration_lines(report, 0)) == 5
    assert render.duration_lines(run_report(job("a")), 2) == []


# --- plan, explain, ls


def test_a_plan_says_what_runs_why_and_for_how_long() -> None:
    plan = Plan(
        manifest="m.toml",
        least_seconds=12.0,
        most_seconds=25.0,
        jobs=(
            planned("a", export=RUNS, compile=MAYBE, verify=MAYBE),
            planned("b", export=STANDS, compile=STANDS),
            planned("c", delivered=True, export=STANDS, compile=STANDS),
            planned("d", export=STANDS, compile=PlannedStage(action="skip", reason="no CUDA device")),
        ),
    )
    built_line = (
        "build      a  export runs (source: attn.py changed) · compile, verify may run (depends on the export)"
        "  about 12s if the graph stays the same, about 25s if not"
    )
    total = "about 12s if every graph stays the same, about 25s if not"
    assert render_plan.plan_lines(plan) == [
        built_line,
        "deliver    b  every stage cached, outputs to be copied",
        "up-to-date c",
        "skip       d  export cached · compile is skipped (no CUDA device)",
        "4 jobs: 1 to build, 1 to skip, 1 to copy from the cache, 1 up to date; " + total,
    ]


def test_a_plan_without_history_gives_a_guess_and_for_a_new_job_no_range() -> None:
    runs = PlannedStage(action="run", reason="never built", guessed_seconds=5.0)
    follows = PlannedStage(action="maybe", reason="depends on the export", guessed_seconds=25.0)
    job = planned("a", export=runs, compile=follows)
    assert (job.least_seconds, job.most_seconds) == (30.0, 30.0)
    plan = Plan(manifest="m", jobs=(job,), least_seconds=30.0, most_seconds=30.0)
    lines = render_plan.plan_lines(plan)
    assert lines[0].endswith("  ~30s")
    assert lines[1].endswith("; ~30s")


def test_a_verification_follows_a_compile_for_certain() -> None:
    job = planned("a", export=STANDS, compile=RUNS, verify=MAYBE)
    assert (job.least_seconds, job.most_seconds) == (18.5, 18.5)


def test_a_plan_with_nothing_to_build_gives_no_time() -> None:
    plan = Plan(manifest="m", jobs=(planned("a", delivered=True, export=STANDS),), expected_seconds=0.0)
    assert render_plan.plan_lines(plan)[-1] == "1 job: 1 up to date"


def test_explain_gives_every_stage_its_reason() -> None:
    assert render_plan.explain_lines(planned("a", export=RUNS, compile=MAYBE)) == [
        "a",
        "  export   runs: source: attn.py changed (about 12s)",
        "  compile  may run: depends on the export (about 6s)",
        "  outputs  missing or stale",
    ]


def test_explain_keeps_the_lines_of_a_long_reason() -> None:
    long = PlannedStage(action="run", reason="2 sources changed\na.py\nb.py")
    assert render_plan.explain_lines(planned("a", export=long))[1:4] == [
        "  export   runs: 2 sources changed",
        "           a.py",
        "           b.py",
    ]


def test_ls_lines_up_the_names_and_explains_only_what_is_stale() -> None:
    states = [
        JobState(name="a", state="delivered", path="dist/a", detail="up to date"),
        JobState(name="longer", state="stale", path="dist/longer", detail="export: a.py changed"),
        JobState(name="c", state="missing", path="dist/c"),
        JobState(name="d", state="delivered", path="dist/d"),
    ]
    assert render_plan.ls_lines(states) == [
        "delivered a       dist/a",
        "stale     longer  dist/longer  (export: a.py changed)",
        "missing   c       dist/c",
        "delivered d       dist/d",
        "4 jobs: 2 delivered, 1 stale, 1 missing",
    ]


# --- cache, doctor, errors


def test_stats_name_the_folder_and_what_it_holds() -> None:
    stats = StoreStats(
        records=3, blobs=2, bytes=3 * 2**20, by_kind={"export": 2, "compile": 1}, more={"logs": 2048, "staging": 0}
    )
    assert stats_lines(stats, "/c") == [
        "cache    /c",
        "records  3 (1 compile, 2 export)",
        "files    2, 3.0 MiB",
        "beside   logs 2.0 KiB",
    ]


def test_doctor_gives_the_remedy_below_what_is_wrong() -> None:
    checks = [
        Check(name="python", state="ok", detail="3.11.7", remedy="never shown"),
        Check(name="compiler", state="fail", detail="no g++", remedy="install g++"),
    ]
    assert render.doctor_lines(checks) == [
        "ok    python    3.11.7",
        "fail  compiler  no g++",
        "                → install g++",
        "not ready: 1 check failed",
    ]


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (["ok"], "ready"),
        (["ok", "warn"], "ready, with 1 warning"),
        (["warn", "fail", "fail"], "not ready: 2 checks failed"),
    ],
)
def test_doctor_ends_with_a_verdict(states: list[str], verdict: str) -> None:
    checks = [Check(name="x", state=state, detail="y") for state in states]
    assert render.doctor_lines(checks)[-1] == verdict


def test_every_mistake_gets_its_own_error_line() -> None:
    assert render.error_lines("a.toml:3: no\n\na.toml:9: neither") == [
        "error: a.toml:3: no",
        "error: a.toml:9: neither",
    ]


def test_an_empty_message_is_still_an_error() -> None:
    assert render.error_lines("") == ["error: (no message)"]


def test_the_cost_of_keys_is_told_where_something_was_built() -> None:
    stage = StageReport(outcome=Outcome.BUILT, reason="", seconds=40.0, key_seconds=0.5)
    assert render.key_lines(run_report(job("a"))) == []
    assert render.key_lines(run_report(job("a", stages={"export": stage}))) == [
        "cache-key overhead: 0.5 s (1.2% of building)"
    ]
    assert render.key_lines(run_report(job("a", stages={"export": stage}), job("b"))) == [
        "cache-key overhead: 0.5 s (1.2% of building; at most 1.2%, for a)"
    ]
