# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of MTAs is complete, and where roles repeat what it has, they agree with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.postmaster.mail.plugins.module_utils._model import mta

ROLES = Path(__file__).resolve().parents[5] / "roles"
FAMILIES = ["Debian", "OpenBSD"]


@pytest.mark.parametrize(("family", "name"), [("OpenBSD", "opensmtpd"), ("Debian", "postfix"), ("", "postfix")])
def test_openbsd_has_an_mta_of_its_own(family, name):
    assert mta.usual(family) == name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_every_mta_with_the_same_facts(family):
    facts = mta.facts(family)
    assert tuple(facts["servers"]) == mta.NAMES
    keys = {"filter", "spool", "package", "packages", "service", "account", "helpers", "files", "signer", "disable"}
    assert [name for name, server in facts["servers"].items() if set(server) != keys] == []
    assert [name for name, server in facts["servers"].items() if server["filter"] not in ("milter", "http")] == []
    assert facts["usual"] in facts["servers"]
    # Either there is a package, or nothing to ask for.
    assert [name for name, server in facts["servers"].items() if bool(server["package"]) != bool(server["packages"])] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_role_of_the_same_name_exists_and_has_values_for_the_family(family):
    assert [name for name in mta.NAMES if not (ROLES / name / f"vars/{family}.yml").is_file()] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_files_that_are_removed_with_an_mta_are_those_that_its_role_puts_there(family):
    values = {name: yaml.safe_load((ROLES / name / f"vars/{family}.yml").read_text()) for name in mta.NAMES}
    servers = mta.facts(family)["servers"]
    assert values["postfix"]["__postfix_srs_secret"] in servers["postfix"]["files"]
    assert f"{values['opensmtpd']['__opensmtpd_etc']}/smtpd.srs.conf" in servers["opensmtpd"]["files"]
    assert bool(values["opensmtpd"]["__opensmtpd_login_classes"]) == ("/etc/login.conf.d/smtpd" in servers["opensmtpd"]["files"])


def test_what_is_changed_in_the_result_is_not_changed_in_the_table():
    mta.facts("Debian")["servers"]["postfix"]["service"] = "other"
    assert mta.facts("Debian")["servers"]["postfix"]["service"] == "postfix"
