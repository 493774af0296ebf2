# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role dovecot refuses in the output of doveconf, which is content with a variable that means nothing any more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible.template import Templar, trust_as_template

ROLE = Path(__file__).resolve().parents[3] / "roles/dovecot"


def refused(output, syntax):
    """Whether the first of the role's checks fails on this output of doveconf."""
    checks = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__dovecot_checks"]
    assert checks[0]["argv"][0] == "doveconf"
    patterns = Templar(variables={"__dovecot_syntax": syntax}).template(trust_as_template(checks[0]["fail_on"]))
    assert patterns and all(isinstance(pattern, str) for pattern in patterns)
    return any(re.search(pattern, output, re.MULTILINE) for pattern in patterns)


@pytest.mark.parametrize("value", ["/var/vmail/%d/%n", "/var/vmail/%{user | domain}/%n", "%Lu", "maildir:~/Maildir:INDEX=/idx/%u"])
def test_a_variable_of_one_letter_is_refused_where_it_would_be_taken_as_it_is_written(value):
    output = f"# 2.4.1\nprotocols = imap lmtp\nmail_home = {value}\nmail_path = ~/Maildir\n"
    assert refused(output, "2.4")
    assert not refused(output, "2.3")


@pytest.mark.parametrize("syntax", ["2.3", "2.4"])
def test_warnings_and_errors_of_doveconf_are_refused(syntax):
    assert refused("doveconf: Warning: please set x\nmail_home = /var/vmail\n", syntax)
    assert not refused("log_debug = category=error\nmail_home = /var/vmail/%{user | domain}/%{user | username}\n", syntax)


def values(syntax):
    """The settings of the role's template for this Dovecot, in the form of doveconf's output."""
    lines = (ROLE / f"templates/etc/dovecot/_dovecot-{syntax}.conf.j2").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if re.match(r"\s*\w+ = ", line))


def test_what_the_role_itself_writes_is_taken_by_its_own_check():
    assert not refused(values("2.4"), "2.4")
    assert not refused(values("2.3"), "2.3")
    assert refused(values("2.3"), "2.4")
