# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which key OpenDKIM signs with, by its configuration as guides and panels write it."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._keys import opendkim

KEY = "/home/user-data/mail/dkim/mail.private"
DOMAINS = ["example.net", "example.org"]


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        ("Domain example.org\nSelector 2020\nKeyFile /etc/dkimkeys/2020.private  # old\n", {},
         {"example.org": ("2020", "/etc/dkimkeys/2020.private")}),
        ("domain\texample.org, Example.NET\nSELECTOR default_1807\nKeyFile /k\n", {},
         {"example.net": ("default_1807", "/k"), "example.org": ("default_1807", "/k")}),
        ("Domain *\nSelector s\nKeyFile /k\n", {}, {"example.net": ("s", "/k"), "example.org": ("s", "/k")}),
        ("Domain /etc/domains\nSelector s\nKeyFile /k\n", {"/etc/domains": "# ours\nexample.net\n"}, {"example.net": ("s", "/k")}),
        # Mail-in-a-Box: one file for all domains.
        ("KeyTable refile:/etc/opendkim/KeyTable\nSigningTable refile:/etc/opendkim/SigningTable\n",
         {"/etc/opendkim/KeyTable": f"example.org example.org:mail:{KEY}\nexample.net example.net:mail:{KEY}\n",
          "/etc/opendkim/SigningTable": "*@example.org example.org\n*@example.net example.net\n"},
         {"example.net": ("mail", KEY), "example.org": ("mail", KEY)}),
        ("KeyTable file:/k\nSigningTable /s\n", {"/k": "all %:mail:/all.key\nother other.example:mail:/other\n",
          "/s": "example.org all,other\n"},
         {"example.org": ("mail", "/all.key")}),
        # One sender's signature, or one in another's name, is not the domain's.
        ("KeyTable file:/k\nSigningTable refile:/s\n",
         {"/k": "own example.org:own:/own\nother other.example:mail:/other\n",
          "/s": "me@example.org own\n*@example.net other\n"}, {}),
        ("KeyTable file:/none\nSigningTable refile:/none\n", {}, {}),
        ("Domain example.org\nSelector s\n", {}, {}),
        ("Mode v\nSocket inet:8891@localhost\n", {}, {}),
    ],
)  # fmt: skip
def test_which_key_signs_for_which_domain(text, files, expected):
    assert opendkim.signers(text, "opendkim.conf", DOMAINS, lambda path: files.get(path, "")) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("KeyTable dsn:mysql://x@y/z\nSigningTable refile:/s\n", "o.conf: KeyTable is of the type 'dsn', which is not read here"),
        ("Domain example.org\nSelector -s\nKeyFile /k\n", "o.conf: selector '-s' has a bad label '-s': letters, digits, underscores and "
         "inner hyphens only (RFC 6376 section 3.1, RFC 8552)"),
    ],
)
def test_what_cannot_be_read_is_told(text, error):
    with pytest.raises(MailError) as found:
        opendkim.signers(text, "o.conf", DOMAINS, lambda _path: "")
    assert str(found.value) == error
