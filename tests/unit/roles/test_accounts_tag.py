# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site with --tags accounts changes users, aliases and locks: wherever they are written, and nothing else."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
SITE = yaml.safe_load((ROOT / "playbooks/site.yml").read_text(encoding="utf-8"))[0]["tasks"]


def inputs(role: str) -> set[str]:
    path = ROOT / f"roles/{role}/vars/main.yml"
    return set((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(f"__{role}_inputs", {})) if path.is_file() else set()


def test_roles_that_are_given_accounts_have_the_tag_and_no_others():
    found: dict[str, set[bool]] = {}
    for task in SITE:
        call = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
        role = call.get("name", "").removeprefix("postmaster.mail.")
        if not role or "{" in role:
            continue
        tags = task["tags"]
        assert tags == call.get("apply", {}).get("tags", tags), role
        if "always" not in tags and role != "dns":  # whose records are of domains alone, of which users are none
            found.setdefault(role, set()).add("accounts" in tags)
    assert {role for role, tagged in found.items() if True in tagged} == {"dovecot", "opensmtpd", "postfix", "rspamd"}
    for role, tagged in found.items():
        assert tagged == {bool({"users", "aliases"} & inputs(role))}, role


def test_maps_need_no_restart_of_rspamd():
    """Else each new user would have mail deferred."""
    tasks = yaml.safe_load((ROOT / "roles/rspamd/tasks/services.yml").read_text(encoding="utf-8"))
    service = next(task for task in tasks if task["name"].startswith("Service | Enable and start Rspamd"))
    values = yaml.safe_load((ROOT / "roles/rspamd/vars/main.yml").read_text(encoding="utf-8"))
    assert "__rspamd_reconfigured" in service["ansible.builtin.service"]["state"]
    assert "maps[.]d" in values["__rspamd_reconfigured"]
