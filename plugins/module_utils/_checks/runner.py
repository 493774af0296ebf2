# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of checks: named facts about a mail server, each proven from outside by protocol, and their results."""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._io.bounded import printable

#: The statuses of a check, in the order of a summary. Those of rdns_verify come first; a check is skipped where it cannot be run here,
#: and unsupported where the server is known not to pass it.
STATUSES = ("pass", "warn", "fail", "unknown", "skipped", "unsupported")


class CheckFailed(AssertionError):
    """The server does not do what the check says; the text is what it did instead."""


class CheckSkipped(Exception):
    """The check cannot be run here; the text is the reason. It neither passes nor fails."""


@dataclasses.dataclass
class CheckResult:
    """The result of one check: its name and description, one of :data:`STATUSES` (``unknown`` where the tests' own network failed), what
    the server answered or the reason, and seconds of wall time."""

    check: str
    description: str
    status: str
    evidence: str
    seconds: float


@dataclasses.dataclass
class Check:
    """A named fact, in words, and the function that proves it: it takes the server and returns its evidence."""

    name: str
    description: str
    function: Callable[..., str]


class CheckRegistry:
    """A list of checks, in the order in which they are run."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def check(self, name: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
        """Register a function: it takes the server, returns its evidence, raises :class:`CheckFailed` or :class:`CheckSkipped`.

        Its docstring is the description.
        """

        def register(function: Callable[..., str]) -> Callable[..., str]:
            if any(check.name == name for check in self.checks):
                raise ValueError(f"check {name!r} is registered twice")
            self.checks.append(Check(name, " ".join((function.__doc__ or "").split()), function))
            return function

        return register

    def run(
        self,
        server: Any,
        only: Iterable[str] = (),
        report: Callable[[CheckResult], None] | None = None,
        unsupported: Mapping[str, str] | None = None,
        by_chance: Container[str] = (),
    ) -> list[CheckResult]:
        """Run the checks; an exception of any kind fails the one that raised it, and the rest goes on.

        :param only: names of the checks to run; all if it is empty
        :param report: called with each result as soon as there is one
        :param unsupported: name of a check that this server cannot pass to the reason. It is run all the same, and one that passes after
            all counts as failed: then the list is wrong.
        :param by_chance: names of checks that a slow machine may seem to pass, which are unsupported then too
        """
        results = []
        names = set(only)
        for check in self.checks:
            if names and check.name not in names:
                continue
            start = time.monotonic()
            try:
                status, evidence = "pass", check.function(server)
            except CheckSkipped as exc:
                status, evidence = "skipped", str(exc)
            except Exception as exc:
                status, evidence = "fail", str(exc) if isinstance(exc, AssertionError) else f"{type(exc).__name__}: {exc}"
            if unsupported and check.name in unsupported:
                if status == "fail" or (status == "pass" and check.name in by_chance):
                    status, evidence = "unsupported", f"{unsupported[check.name]} Tried: {evidence}"
                elif status == "pass":
                    status, evidence = "fail", f"listed as unsupported, but passed: {evidence}"
            evidence = printable(_without_passwords(str(evidence), getattr(server, "accounts", ())))
            result = CheckResult(check.name, check.description, status, evidence, time.monotonic() - start)
            results.append(result)
            if report:
                report(result)
        return results


def _without_passwords(text: str, accounts: Iterable[tuple[str, str]]) -> str:
    """Return what a server said without the passwords that it was told, which some repeat."""
    for user, password in accounts:
        if password:
            encoded = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            for secret in (encoded, base64.b64encode(password.encode()).decode(), password):
                text = text.replace(secret, "********")
    return text


def summary(results: Iterable[CheckResult]) -> dict[str, int]:
    """Return how many results have each of :data:`STATUSES`."""
    counts = dict.fromkeys(STATUSES, 0)
    for result in results:
        counts[result.status] += 1
    return counts


def in_words(counts: Mapping[str, int]) -> str:
    """Return a summary as text; of statuses beside ``pass`` and ``fail`` only those that there are."""
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count or status in ("pass", "fail"))
