# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What signs mail on a host without the filter."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._services.signer import keys, tables

KEY = {"selector": "s1", "path": "/var/lib/postmaster-mail/dkim/example.org.s1.key", "since": "2026-11-30"}
OTHER = {"selector": "s2", "path": "/var/lib/postmaster-mail/dkim/example.net.s2.key"}


def test_each_domain_signs_with_its_own_key_and_reports_with_that_of_the_domain_above():
    found = tables({"signing": {"Example.org": KEY, "example.net": OTHER}, "fqdn": "mail.example.org", "managed": "managed"})
    assert found == {
        "opendkim/keys": "# managed\n"
        "s2._domainkey.example.net example.net:s2:/var/lib/postmaster-mail/dkim/example.net.s2.key\n"
        "s1._domainkey.example.org example.org:s1:/var/lib/postmaster-mail/dkim/example.org.s1.key\n",
        "opendkim/signing": "# managed\n*@example.net s2._domainkey.example.net\n"
        "*@example.org s1._domainkey.example.org\n*@mail.example.org s1._domainkey.example.org\n",
    }


@pytest.mark.parametrize("fqdn", ["example.org", "mail.elsewhere.test", None])
def test_a_name_that_is_a_domain_or_below_none_signs_nothing_of_its_own(fqdn):
    assert tables({"signing": {"example.org": KEY}, "fqdn": fqdn})["opendkim/signing"].splitlines()[1:] == [
        "*@example.org s1._domainkey.example.org"
    ]


def test_a_domain_signs_once_with_each_of_its_keys():
    found = tables({"signing": {"example.org": [KEY, {**OTHER, "path": "/k"}]}, "fqdn": "example.org"})
    lines = found["opendkim/signing"].splitlines()[1:]
    assert lines == ["*@example.org s1._domainkey.example.org", "*@example.org s2._domainkey.example.org"]


def test_without_a_published_key_nothing_is_signed():
    empty = "# Ansible managed\n"
    assert tables({"signing": None, "fqdn": "mail.example.org"}) == {"opendkim/keys": empty, "opendkim/signing": empty}


def test_an_ed25519_key_is_refused():
    given = {"signing": {"example.org": KEY}, "keys": {"example.org": {"path": KEY["path"], "value": "v=DKIM1; k=ed25519; p=AAAA"}}}
    with pytest.raises(MailError) as caught:
        keys(given)
    assert str(caught.value) == (
        "mail_domains['example.org'] signs with /var/lib/postmaster-mail/dkim/example.org.s1.key, an Ed25519 key (RFC 8463), which cannot "
        "be had with mail_filter false: OpenDKIM and filter-dkimsign sign with RSA keys. Move it away, so that an RSA key is made, or have "
        "mail_filter be a dictionary, such as {}"
    )
    given["keys"]["example.org"]["value"] = "v=DKIM1; k=rsa; p=AAAA"
    assert keys(given) == [{"domain": "example.org", "selectors": [KEY]}]


def test_errors_name_the_roles_variable():
    with pytest.raises(MailError, match=r"^signer_signing 'example.org' must have a selector and the path of a key\Z"):
        keys({"signing": {"example.org": {}}})
