"""The report: one HTML file that needs nothing else, made from what a run directory holds."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmbridge import figures
from mmbridge.report.curves import panels
from mmbridge.report.gallery import galleries
from mmbridge.report.reading import RunRecord, read
from mmbridge.report.results import result_groups
from mmbridge.report.summary import bridge_figure, parts, stages, took
from mmbridge.run_directory import RunDirectory


def write(run: Path) -> Path:
    """Write `report.html` of a run, whole or not at all, from as much as is there yet; give its path.

    Raises:
        UserError: the directory is no run.
    """
    target = RunDirectory(run).report
    partial = target.with_suffix(".html.tmp")
    partial.write_text(render(read(run)), encoding="utf-8")
    return partial.replace(target)


def render(record: RunRecord) -> str:
    """Turn what is known of a run into HTML. Everything is escaped: captions are other people's words."""
    environment = Environment(
        loader=PackageLoader("mmbridge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        name: getattr(figures, name) for name in ("count", "duration", "interval", "number", "score")
    }
    return environment.get_template("report.html").render(
        record=record,
        parts=parts(record),
        bridge=bridge_figure(record),
        stages=stages(record),
        took=took(record),
        results=result_groups(record.results),
        galleries=galleries(record.directory, record.results),
        panels={stage: panels(lines) for stage, lines in record.lines.items()},
    )
