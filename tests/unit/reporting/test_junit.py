"""JUnit XML holds against the schema that CI systems use, and tells what failed."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import xmlschema

from batchexport.core.errors import Kind
from batchexport.core.report import Outcome, Place, RunReport
from batchexport.reporting.junit import junit_xml
from support.reports import built, failure, job, run_report, stage

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[2] / "data" / "junit.xsd")
SHAPES = failure(
    stage="export",
    kind=Kind.SHAPES,
    message="shape '[2]' is invalid <&> \x1b[31m",
    remedy="write `batch = 2`",
    where=Place(file="models.py", line=3, text="x.view(2)", function="forward"),
    log="cache/v1/logs/a@cpu/export.log",
    log_tail=("the end\x00",),
    reproduce="batchexport run m.toml",
)


def report() -> RunReport:
    return run_report(
        job("ok@cpu", stages={"export": built()}, warnings=("a warning",)),
        job("shapes@cpu", error=SHAPES, stages={"export": stage(Outcome.FAILED, seconds=1.25)}),
        job("crash@cpu", error=failure(stage="compile", kind=Kind.CRASH, message="it died")),
        job("expected@cpu", error=SHAPES, expected=True),
        job("skipped@cuda", ok=False, stages={"compile": stage(Outcome.SKIPPED, "no GPU here")}),
    )


def parsed(of: RunReport) -> ElementTree.Element:
    return ElementTree.fromstring(junit_xml(of))


def test_a_report_is_valid_by_the_schema_of_jenkins() -> None:
    SCHEMA.validate(ElementTree.ElementTree(parsed(report())))


def test_a_report_without_jobs_is_valid() -> None:
    SCHEMA.validate(ElementTree.ElementTree(parsed(run_report())))


def test_the_schema_refuses_what_jenkins_would() -> None:
    root = parsed(report())
    root[0][1].set("file", "models.py")
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        SCHEMA.validate(ElementTree.ElementTree(root))


def test_counts_are_those_of_the_cases() -> None:
    suite = parsed(report())[0]
    counts = {name: int(suite.get(name, "")) for name in ("tests", "failures", "errors", "skipped")}
    found = {name: len(suite.findall(f"testcase/{name}")) for name in ("failure", "error", "skipped")}
    assert counts == {"tests": 5, "failures": 1, "errors": 1, "skipped": 2}
    assert found == {"failure": 1, "error": 1, "skipped": 2}


def test_a_failure_tells_its_message_remedy_log_and_command() -> None:
    told = parsed(report()).find(".//testcase[@name='shapes@cpu']/failure")
    assert told is not None and told.text is not None
    assert (told.get("type"), told.get("message")) == ("shapes", "shape '[2]' is invalid <&> \ufffd[31m")
    for words in (
        "remedy: write `batch = 2`",
        "log: cache/v1/logs",
        "the end\ufffd",
        "reproduce: batchexport run m.toml",
    ):
        assert words in told.text


def test_a_skipped_job_says_why() -> None:
    root = parsed(report())
    messages = {
        name: root.find(f".//testcase[@name='{name}']/skipped").get("message")  # type: ignore[union-attr]
        for name in ("expected@cpu", "skipped@cuda")
    }
    assert messages["skipped@cuda"] == "no GPU here"
    assert messages["expected@cpu"] is not None and messages["expected@cpu"].startswith("fails as expected in export")
