# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of checks as one HTML page."""

from __future__ import annotations

import html
import os
import time

from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckResult, in_words, summary
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid #d8dee4 }}
.pass {{ color: #116329 }} .fail {{ color: #a40e26; font-weight: 600 }} .skipped, .unsupported, .unknown {{ color: #57606a }}
.warn {{ color: #8a5300 }}
td:nth-child(3) {{ color: #57606a; font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere }}
td:last-child {{ white-space: nowrap }}
</style></head><body><h1>{title}</h1><p>{counts}. {when}</p>
<table><tr><th>Check</th><th></th><th>Evidence</th><th>Time</th></tr>
{rows}
</table></body></html>
"""


def page(title: str, results: list[CheckResult]) -> str:
    """Return the results as one HTML page that needs nothing else."""
    order = {status: place for place, status in enumerate(("fail", "warn", "unknown", "unsupported", "pass", "skipped"))}
    rows = "\n".join(
        f"<tr><td>{html.escape(result.description)}</td><td class={result.status}>{result.status}</td>"
        f"<td>{html.escape(result.evidence)}</td><td>{result.seconds:.1f} s</td></tr>"
        for result in sorted(results, key=lambda result: order[result.status])
    )
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return _PAGE.format(title=html.escape(title), counts=in_words(summary(results)), rows=rows, when=when)


def write_page(path: str, text: str) -> None:
    """Write a report for whoever runs this alone, at once; a link in its place is replaced, never followed.

    :raises MailError: a directory on the way is a link that somebody else may have placed
    """
    safe_files.write(os.path.abspath(path), text.encode("utf-8"))
