"""Self-contained HTML reports of reconstruction files."""

from fluorojax.reports.page import write_report

__all__ = ["write_report"]
