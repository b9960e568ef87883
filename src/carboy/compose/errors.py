"""What is wrong with a project, all of it at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from carboy.errors import CarboyError, list_first

# A file with more mistakes than this is another kind of file.
MAX_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One mistake or remark: ``path`` is the key path (``services.web.ports[0]``), ``line`` counts from 1 (0: unknown)."""

    text: str
    path: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.text) if part)


class ComposeError(CarboyError):
    """A project that cannot be used; ``issues`` holds every reason."""

    def __init__(self, brief: str, *, issues: tuple[Issue, ...] = (), hint: str = "", code: int = 1) -> None:
        super().__init__(brief, details="\n".join(list_first(issues, MAX_SHOWN)), hint=hint, code=code)
        self.issues = issues


@dataclass(slots=True)
class Report:
    """Gathers what is found on the way through files; ``check`` ends the way when any of it is an error."""

    errors: list[Issue] = field(default_factory=list)
    warnings: list[Issue] = field(default_factory=list)

    def error(self, issue: Issue) -> None:
        """Add a reason why the project cannot be used, once."""
        if issue not in self.errors:
            self.errors.append(issue)

    def warn(self, issue: Issue) -> None:
        """Add a remark, once."""
        if issue not in self.warnings:
            self.warnings.append(issue)

    def check(self) -> None:
        """Raise ``ComposeError`` with all errors, if there are any."""
        if not self.errors:
            return
        files = list(dict.fromkeys(issue.file for issue in self.errors))
        self.errors.sort(key=lambda issue: (files.index(issue.file), issue.line))
        count = len(self.errors)
        brief = "the compose file has an error" if count == 1 else f"the compose files have {count} errors"
        raise ComposeError(brief, issues=tuple(self.errors), hint="correct each place that is named")
