# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every role promises about its variables: each one documented, typed, and named after the role."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"

pytestmark = pytest.mark.parametrize("role", sorted(path.parents[1] for path in ROLES.glob("*/tasks/main.yml")), ids=lambda path: path.name)


def load(path):
    return (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}


def options(role):
    """The options of the role's entry points, by name."""
    specs = load(role / "meta/argument_specs.yml").get("argument_specs", {})
    return {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}


def test_every_default_is_an_option_and_every_option_has_a_default_or_is_required(role):
    optional = {name for name, option in options(role).items() if not option.get("required")}
    assert set(load(role / "defaults/main.yml")) == optional


def test_every_option_has_a_type_and_a_description(role):
    assert [name for name, option in options(role).items() if not (option.get("type") and option.get("description"))] == []


def test_a_default_that_is_documented_is_the_default(role):
    defaults = load(role / "defaults/main.yml")
    documented = {name: option["default"] for name, option in options(role).items() if "default" in option}
    assert documented == {name: defaults[name] for name in documented}


def test_every_default_has_a_comment_above_it(role):
    lines = (role / "defaults/main.yml").read_text().splitlines() if (role / "defaults/main.yml").exists() else []
    bare = [line for above, line in zip(["", *lines], lines) if re.match(r"\w+:", line) and not above.startswith("# ")]
    assert bare == []


def test_public_variables_carry_the_role_and_internal_ones_two_underscores(role):
    assert [name for name in [*load(role / "defaults/main.yml"), *options(role)] if not name.startswith(f"{role.name}_")] == []
    internal = [name for path in role.glob("vars/*.yml") for name in load(path)]
    assert [name for name in internal if not re.match(rf"__{role.name}(_|$)", name)] == []


def test_every_entry_point_is_documented(role):
    """A tasks file that other roles or playbooks call by `tasks_from` is an entry point; every one in the specs exists."""
    specs = load(role / "meta/argument_specs.yml").get("argument_specs", {})
    # What only other roles depend on has no variables; a spec would be one more task of each play.
    internal = load(role / "meta/main.yml")["galaxy_info"]["description"].startswith("[INTERNAL]")
    assert ("main" in specs) != internal
    assert not internal or not (role / "defaults/main.yml").exists()
    assert [name for name in specs if not (role / f"tasks/{name}.yml").exists()] == []


def test_differences_between_systems_are_in_vars(role):
    conditions = [(path.name, line.strip()) for path in role.glob("tasks/*.yml") for line in path.read_text().splitlines()
                  if re.search(r"when:.*(os_family|ansible_distribution|\['distribution)", line)]
    assert conditions == []


def test_names_are_used_in_their_canonical_form(role):
    """A variable may have capital letters and a final dot; files, paths and comparisons have what the model makes of it."""
    raw = re.compile(rf"(?<![\w]){role.name}_fqdn\b")
    allowed = re.compile(rf"^{role.name}_fqdn: |^__{role.name}_fqdn: |^  fqdn: {role.name}_fqdn$")
    lines = [(path.name, line) for path in role.rglob("*") if path.suffix in (".yml", ".j2") and path.name != "argument_specs.yml"
             for line in path.read_text().splitlines()]
    found = [(name, line) for name, line in lines if raw.search(line) and not line.lstrip().startswith("#")]
    assert [(name, line) for name, line in found if not allowed.search(line)] == []


def internal_names(text):
    """Return the internal variables that a text assigns or registers, and all that it names."""
    assigned = re.findall(r"(?m)^\s*(?:- )?(__[a-z]\w*):", text) + re.findall(r"\b(?:register|loop_var): *(__[a-z]\w*)", text)
    assigned += re.findall(r"{%-? *(?:set|for) +(__[a-z]\w*)", text)
    return set(assigned), set(re.findall(r"(?<![\w.])__[a-z]\w*(?<!__)\b", text))


def test_internal_variables_that_are_read_are_assigned_by_the_role_or_by_the_one_that_all_depend_on(role):
    texts = [internal_names(path.read_text()) for path in role.rglob("*") if path.suffix in (".yml", ".j2")]
    assigned, named = set().union(*(pair[0] for pair in texts)), set().union(*(pair[1] for pair in texts))
    of_the_site = yaml.safe_load((ROLES.parent / "playbooks/site.yml").read_text())[0]["vars"]
    assert sorted(named - assigned - {*of_the_site, *load(ROLES / "host/vars/main.yml")}) == []


def test_no_task_logs_in_at_a_terminal(role):
    """The action script does, once for each call: wtmp and lastlog are full of it, and what is printed to standard error is lost."""
    texts = {str(path.relative_to(role)): path.read_text() for kind in ("tasks", "handlers") for path in role.glob(f"{kind}/*.yml")}
    assert [path for path, text in texts.items() if re.search(r"ansible\.builtin\.(?:script|raw):", text)] == []
