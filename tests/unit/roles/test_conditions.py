# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Conditions are cheap: Ansible evaluates them also for what is skipped, so none of them may make a model or what a service is given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("roles/*/handlers/*.yml"), ROOT / "playbooks/site.yml"])
#: What does not grow with the inventory: a table of constants, and what an entry point is given by itself.
CHEAP = re.compile(r"_service\('(host', '(mtas|addresses)|dovecot', 'syntax)'\)|'refusals': \w+_refusals\} \| postmaster\.mail\._model")
DEAR = re.compile(r"postmaster\.mail\._|\b__mail_inventory\b(?!\.models)")


def variables(path):
    """The variables of a role, and those that all roles have from `host`."""
    found = {}
    for role in ("host", path.parents[1].name):
        for file in [ROOT / f"roles/{role}/defaults/main.yml", *sorted((ROOT / f"roles/{role}/vars").glob("*.yml"))]:
            found |= yaml.safe_load(file.read_text()) or {} if file.exists() else {}
    return found


def expressions(value):
    """All texts in a value."""
    if isinstance(value, dict):
        for entry in value.values():
            yield from expressions(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from expressions(entry)
    elif isinstance(value, str):
        yield value


def evaluated(text, known, seen):
    """Yield the expression and those of all variables that it needs, with the way to them."""
    yield text
    for word in re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "''", text)):
        if word in known and word not in seen:
            seen.add(word)
            for value in expressions(known[word]):
                yield from evaluated(value, known, seen)


def conditions(node, known):
    """Yield each condition of the tasks below a node, and what variables of its task stand for."""
    for task in node if isinstance(node, list) else [node]:
        if isinstance(task, dict):
            own = {**known, **(task.get("vars") or {})}
            for keyword in ("when", "changed_when", "failed_when", "until"):
                for text in expressions(task.get(keyword)):
                    yield task.get("name"), text, own
            for keyword in ("block", "rescue", "always", "tasks"):
                yield from conditions(task.get(keyword) or [], own)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_condition_makes_a_model(path):
    known = variables(path) if path.parent.name != "playbooks" else {}
    found = [
        (name, condition, text)
        for name, condition, own in conditions(yaml.safe_load(path.read_text()) or [], known)
        for text in evaluated(condition, own, set())
        if DEAR.search(CHEAP.sub("", text))
    ]
    assert found == []
