"""The report: one HTML file that needs nothing else, made from what a run directory holds."""

from pathlib import Path

from mmbridge.report.attention import attentions
from mmbridge.report.curves import panels
from mmbridge.report.gallery import galleries
from mmbridge.report.mixture import mixtures
from mmbridge.report.page import put, rendered
from mmbridge.report.provenance import locked
from mmbridge.report.reading import RunRecord, read
from mmbridge.report.results import columns, result_groups
from mmbridge.report.searches import retrievals
from mmbridge.report.summary import bridge_figure, facts, parts, stages, took


def write(run: Path, target: Path | None = None) -> Path:
    """Write a run's report, by default its `report.html`, from as much as is there yet; give its path.

    Raises:
        UserError: the directory is no run, or a file of it cannot be read.
    """
    record = read(run)
    return put(render(record), target or record.directory.report)


def render(record: RunRecord) -> str:
    """Turn what is known of a run into HTML."""
    groups = result_groups(record.results)
    return rendered(
        "report.html",
        record=record,
        parts=parts(record),
        bridge=bridge_figure(record),
        facts=facts(record),
        stages=stages(record),
        took=took(record),
        results=groups,
        columns=columns(groups),
        galleries=galleries(record),
        retrievals=retrievals(record),
        attentions=attentions(record),
        panels={stage: panels({record.name: lines}) for stage, lines in record.lines.items()},
        mixtures=mixtures(record),
        locked=locked(record.lock),
    )
