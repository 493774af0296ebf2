# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dns

MODEL = normalise({"fqdn": "mail.example.org", "addresses": ["198.51.100.25"], "domains": {"example.org": {}, "example.net": {}}})
KEYS = {
    "example.org": {"name": "s1._domainkey.example.org", "value": "v=DKIM1; p=AAAA", "in_use": True},
    "example.net": {"name": "s1._domainkey.example.net", "value": "v=DKIM1; p=BBBB", "in_use": False},
    "example.com": {"name": None, "value": None},
}


def test_records_of_keys_that_do_not_sign_yet():
    found = dns.of_new_keys(dns.records(MODEL, KEYS), KEYS)
    assert [(record["name"], record["values"]) for record in found] == [("s1._domainkey.example.net", ["v=DKIM1; p=BBBB"])]


def test_records_that_are_not_served_are_reported_with_all_of_their_name():
    plan = dns.records(MODEL, KEYS)
    seen = [{"name": f"{record['name']}.", "type": record["type"], "served": True} for record in plan]
    assert dns.unserved(seen, lambda: pytest.fail("nothing is missing, and the plan was made")) == ""
    seen[0]["served"] = False  # MX of example.org
    assert dns.unserved(seen, lambda: plan).splitlines() == [
        "; MX", "example.org. 3600 IN MX 10 mail.example.org.",
        "; SPF: who may send", 'example.org. 3600 IN TXT "v=spf1 ip4:198.51.100.25 ~all"',
    ]  # fmt: skip
    assert dns.unserved([], lambda: plan) == ""


def test_a_report_of_thousands_takes_no_longer_than_they_are():
    """It was looked for each record among all the others."""
    plan = [{"name": f"d{number}.example.org", "type": "MX", "values": ["10 mail.example.org."], "ttl": 60} for number in range(50_000)]
    seen = [{"name": record["name"], "served": False} for record in plan]
    assert dns.unserved(seen, lambda: plan).count("\n") == 100_000


def test_what_only_all_records_show_is_reported_like_any_rule():
    two = [f"v=TLSRPTv1; rua=mailto:{name}@b.test" for name in "ac"]
    model = normalise({"fqdn": "mail.example.org", "domains": {"example.org": {"txt": {"_smtp._tls": two}}}})
    with pytest.raises(MailError) as error:
        dns.check_added_values(model)
    assert list(error.value.rules) == [str(error.value).partition("one rule is broken:\n- ")[2]]
    assert error.value.rules[0].startswith("mail_domains: _smtp._tls.example.org: there would be 2 TLS-RPT values, and one is the rule")
    # Without a name for the MX records there is nothing to publish.
    dns.check_added_values({**model, "fqdn": None})


def values(given, name, kind="TXT"):
    made = normalise({"fqdn": "mail.example.org", "addresses": ["198.51.100.25"], **given})
    return [value for record in dns.records(made) if (record["name"], record["type"]) == (name, kind) for value in record["values"]]


def test_smarthosts_may_send_for_the_domains_and_for_the_server_itself():
    given = {"domains": {"example.org": {"spf": {"terms": ["include:spf.example.com"]}}},
             "routes": {"hosts": {"isp": {"host": "smtp.isp.example", "spf": "include:spf.isp.example"}}, "default": "isp"}}
    assert values(given, "example.org") == ["v=spf1 ip4:198.51.100.25 include:spf.example.com include:spf.isp.example ~all"]
    assert values(given, "mail.example.org") == ["v=spf1 ip4:198.51.100.25 include:spf.isp.example -all"]


def test_a_parked_domain_neither_sends_nor_takes_mail():
    given = {"domains": {"example.org": {}, "www.example.org": {"parked": True, "txt": "site=1"}}}
    assert values(given, "www.example.org", "MX") == ["0 ."]
    assert values(given, "www.example.org") == ["v=spf1 -all", "site=1"]
    assert values(given, "_dmarc.www.example.org") == ["v=DMARC1; p=reject"]
    assert "www.example.org" not in normalise({"fqdn": "mail.example.org", **given})["domains"]
