"""Write the report of a run as JUnit XML, which CI systems show as tests.

The form is that of Jenkins' junit-10.xsd, which GitLab, GitHub actions, Azure and Buildkite read too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from batchexport.core.errors import Kind
from batchexport.core.report import Failure, JobReport, RunReport
from batchexport.reporting.words import failure_lines, skip_reason

# Kinds that say more of the machine or of batchexport than of the model are errors, all others failures.
ERRORS = (Kind.CRASH, Kind.DISK, Kind.INTERNAL, Kind.OOM, Kind.TIMEOUT, Kind.TOOLCHAIN)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # https://www.w3.org/TR/xml/#charsets


def junit_xml(report: RunReport) -> bytes:
    """Return a test suite with a test case for each job, in UTF-8. A failure that was expected is a skipped test."""
    failed = [job for job in report.jobs if job.unexpected]
    errors = sum(job.error is not None and job.error.kind in ERRORS for job in failed)
    counts = {
        "name": report.manifest,
        "tests": f"{len(report.jobs)}",
        "failures": f"{len(failed) - errors}",
        "errors": f"{errors}",
        "time": f"{report.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", _clean(counts))
    skipped = sum(not job.unexpected and not job.ok for job in report.jobs)
    suite = ElementTree.SubElement(
        root, "testsuite", _clean({**counts, "skipped": f"{skipped}", "timestamp": report.started[:19]})
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in report.toolchain.items():
        ElementTree.SubElement(properties, "property", _clean({"name": str(name), "value": str(value)}))
    for job in report.jobs:
        _add_case(suite, job)
    ElementTree.indent(root)
    xml: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return xml + b"\n"


def _add_case(suite: ElementTree.Element, job: JobReport) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", _clean({"name": job.name, "classname": job.entry, "time": f"{job.seconds:.3f}"})
    )
    if job.error is not None and job.unexpected:
        name = "error" if job.error.kind in ERRORS else "failure"
        _add_failure(case, name, job.error)
    elif not job.ok:
        ElementTree.SubElement(case, "skipped", _clean({"message": skip_reason(job)}))
    if job.warnings:
        ElementTree.SubElement(case, "system-out").text = _valid("\n".join(f"warning: {one}" for one in job.warnings))


def _add_failure(case: ElementTree.Element, name: str, error: Failure) -> None:
    told = _clean({"type": str(error.kind), "message": error.message})
    ElementTree.SubElement(case, name, told).text = _valid("\n".join(failure_lines(error)))


def _clean(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: _valid(value) for name, value in attributes.items()}


def _valid(text: str) -> str:
    """Replace the characters that no XML may hold, such as the escapes of terminals."""
    return _FORBIDDEN.sub("\ufffd", text)
