"""One offline file of HTML that shows a result, its origin and its cost. `phosphene.report(result)` makes one."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from phosphene.report.chart import Series as Series
from phosphene.report.chart import line_chart as line_chart
from phosphene.report.contents import PageEntry as PageEntry
from phosphene.report.contents import index as index
from phosphene.report.figures import figure as figure
from phosphene.report.html import render as render
from phosphene.report.page import Bar as Bar
from phosphene.report.page import Chart as Chart
from phosphene.report.page import Column as Column
from phosphene.report.page import Figure as Figure
from phosphene.report.page import Legend as Legend
from phosphene.report.page import Link as Link
from phosphene.report.page import Page as Page
from phosphene.report.page import PageTable as PageTable
from phosphene.report.page import Section as Section
from phosphene.report.page import View as View
from phosphene.report.report import Report as Report
from phosphene.report.report import report as report
from phosphene.studies.evidence.map_scores import MapScores as MapScores


class _Callable(ModuleType):
    """The package and the verb share the name phosphene.report: the package can be called."""

    def __call__(self, *args: Any, **options: Any) -> Report:
        return report(*args, **options)


sys.modules[__name__].__class__ = _Callable
