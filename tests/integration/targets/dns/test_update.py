# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Dynamic update of BIND and Knot; what they hold is read with dig, which is not ours."""

from __future__ import annotations

import subprocess
import time

import dns.update
import pytest
import servers
from servers import OTHER_SECRET, SECRET

from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns import update as dns_update
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Server
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import Change, RRset

ZONE = "example.org"
OPEN = {"open.example": (servers.zone_text("open.example"), "type primary;")}
DKIM = "v=DKIM1; k=rsa; p=" + "A" * 400
PLAN = [
    {"name": "s1._domainkey.example.org", "type": "TXT", "values": [DKIM], "state": "exact"},
    {"name": "example.org", "type": "TXT", "values": ["v=spf1 mx -all"], "owned_prefix": "v=spf1"},
    {"name": "@", "zone": ZONE, "type": "MX", "values": ["10 mail.example.org"], "state": "exact"},
    {"name": "mail.example.org", "type": "AAAA", "values": ["2001:db8::25"]},
    {"name": "_submissions._tcp", "zone": ZONE, "type": "SRV", "values": ["0 1 465 mail.example.org"]},
    {"name": "_25._tcp.mail.example.org", "type": "TLSA", "values": ["3 1 1 " + "ab" * 32]},
    {"name": "example.org", "type": "CAA", "values": ["0 issue letsencrypt.org"]},
    {"name": "smtp.example.org", "type": "CNAME", "values": ["mail.example.org"]},
    {"name": "25.example.org", "type": "PTR", "values": ["mail.example.org"]},
]


def dig(server, name, rtype):
    argv = ["dig", f"@{server.address}", "-p", str(server.port), "+short", "+norecurse", name, rtype]
    return sorted(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines())


def serial(server):
    return int(dig(server, ZONE, "SOA")[0].split()[2])


def nsupdate(server, *lines):
    text = "\n".join([f"server {server.address} {server.port}", f"zone {ZONE}", *lines, "send"]) + "\n"
    subprocess.run(["nsupdate", "-y", f"hmac-sha256:mail-update:{SECRET}"], input=text, check=True, capture_output=True, text=True)


def test_check_do_again_undo(run, primary, to):
    before = serial(primary)
    predicted = run(**to, check=True, records=PLAN)
    assert (predicted["changed"], serial(primary)) == (True, before)
    done = run(**to, records=PLAN)
    assert done["changed"] is True
    assert {key: done[key] for key in ("records", "diff")} == {key: predicted[key] for key in ("records", "diff")}
    assert done["zones"] == [{"zone": ZONE, "server": f"127.0.0.1 port {primary.port}", "changed": True, "messages": 1}]
    assert [record["action"] for record in done["records"]] == ["create", "replace", *["create"] * 7]
    assert 'example.org. 3600 IN TXT "v=spf1 mx -all"\n' in done["diff"]["after"]

    assert dig(primary, "s1._domainkey.example.org", "TXT") == [f'"{DKIM[:255]}" "{DKIM[255:]}"']
    assert dig(primary, ZONE, "TXT") == ['"v=spf1 mx -all"', '"verification"']
    assert dig(primary, ZONE, "MX") == ["10 mail.example.org."]
    assert dig(primary, "_submissions._tcp.example.org", "SRV") == ["0 1 465 mail.example.org."]
    assert dig(primary, "_25._tcp.mail.example.org", "TLSA") == ["3 1 1 " + "AB" * 28 + " " + "AB" * 4]
    assert dig(primary, ZONE, "CAA") == ['0 issue "letsencrypt.org"']
    assert dig(primary, "smtp.example.org", "CNAME") == ["mail.example.org."]
    assert dig(primary, "25.example.org", "PTR") == ["mail.example.org."]

    after = serial(primary)
    again = run(**to, records=PLAN)
    assert (again["changed"], again["diff"], serial(primary)) == (False, {"before": "", "after": ""}, after)
    assert run(**to, check=True, records=PLAN)["changed"] is False

    undone = run(**to, records=[{**item, "state": "absent"} for item in PLAN])
    assert undone["changed"] is True
    assert dig(primary, ZONE, "TXT") == ['"verification"']
    assert dig(primary, "smtp.example.org", "CNAME") == []
    assert dig(primary, "mail.example.org", "A") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"name": "old", "values": ["three"]}, ['"one"', '"three"', '"two"']),
        ({"name": "old", "values": ["three"], "state": "exact"}, ['"three"']),
        ({"name": "old", "values": ["one"], "state": "absent"}, ['"two"']),
        ({"name": "old", "state": "absent"}, []),
        ({"name": "old", "values": ["tx"], "owned_prefix": "t"}, ['"one"', '"tx"']),
        ({"name": "split", "values": ["v=DKIM1; p=BBBB"], "state": "exact"}, ['"v=DKIM1; p=BBBB"']),
    ],
)
def test_txt_record(run, primary, to, args, expected):
    args = {**to, "module": "dns_txt_record", "zone": ZONE, **args}
    assert run(**args, check=True)["changed"] is True
    assert run(**args)["changed"] is True
    assert dig(primary, f"{args['name']}.{ZONE}", "TXT") == expected
    assert run(**args)["changed"] is False


@pytest.mark.parametrize("module", ["dns_records", "dns_txt_record"])
@pytest.mark.parametrize(
    ("item", "args", "expected"),
    [
        ({}, {"values": ["one"], "state": "absent"}, ['"two"']),
        ({}, {"values": ["three"]}, ['"one"', '"three"', '"two"']),
        ({}, {"values": ["three"], "state": "exact"}, ['"three"']),
        ({"values": ["three"]}, {"values": ["four"]}, ['"one"', '"three"', '"two"']),
        ({"values": [], "state": "absent"}, {"values": ["one"]}, []),
    ],
)
def test_what_an_item_leaves_out_is_taken_from_the_task(run, primary, to, module, item, args, expected):
    item = {"name": "old", **({"type": "TXT"} if module == "dns_records" else {}), **item}
    assert run(module, **to, zone=ZONE, records=[item], **args)["changed"] is True
    assert dig(primary, "old.example.org", "TXT") == expected


def test_another_splitting_is_no_change(run, primary, to):
    result = run("dns_txt_record", **to, name="split.example.org", values=["v=DKIM1; p=AAAA"], state="exact")
    assert result["changed"] is False
    assert dig(primary, "split.example.org", "TXT") == ['"v=DKIM1; " "p=AAAA"']


def test_a_ttl_alone_is_a_change_and_is_said(run, primary, to):
    result = run("dns_txt_record", **to, name="old.example.org", values=["one", "two"], ttl=60)
    assert result["changed"] is True
    assert [(record["action"], record["ttl_before"], record["ttl_after"]) for record in result["records"]] == [("ttl", 3600, 60)]
    assert run("dns_txt_record", **to, name="old.example.org", values=["one", "two"], ttl=60)["changed"] is False


def test_wildcards_do_not_count_as_records(run, primary, to):
    for name, value in (("a.wild.example.org", "made-up"), ("b.wildalias.example.org", "text")):
        assert run("dns_txt_record", **to, check=True, name=name, values=[value])["changed"] is True
        assert run("dns_txt_record", **to, name=name, values=[value])["changed"] is True
        assert run("dns_txt_record", **to, name=name, values=[value])["changed"] is False
        assert run("dns_txt_record", **to, name=name, state="absent")["changed"] is True
        assert run("dns_txt_record", **to, name=name, state="absent")["changed"] is False


def test_an_alias_gives_way_and_back_in_one_update(run, primary, to):
    there = [
        {"name": "www.example.org", "type": "CNAME", "state": "absent"},
        {"name": "www.example.org", "type": "A", "values": ["192.0.2.1"]},
    ]
    back = [
        {"name": "www.example.org", "type": "A", "state": "absent"},
        {"name": "www.example.org", "type": "CNAME", "values": ["mail.example.org"]},
    ]
    for records in (there, back):
        assert run(**to, records=records)["zones"][0]["messages"] == 1
        assert run(**to, records=records)["changed"] is False
    assert dig(primary, "www.example.org", "CNAME") == ["mail.example.org."]


def test_what_a_replaced_spf_record_let_send_is_warned_of_once(run, primary, to):
    spf = f'update add {ZONE} 60 TXT "v=spf1 include:spf.example.net mx ~all"'
    nsupdate(primary, f"update delete {ZONE} TXT", spf, f"update add {ZONE} 60 TXT x")
    record = {"name": ZONE, "type": "TXT", "values": ["v=spf1 ip4:198.51.100.25 -all"], "owned_prefix": "v=spf1"}
    words = [
        "example.org: the SPF record 'v=spf1 include:spf.example.net mx ~all' is replaced by one without 'include:spf.example.net': "
        "mail of this domain that is sent by these fails SPF then (RFC 7208 section 8.4). If they are to go on sending, add them to the "
        "domain's spf.terms in mail_domains"
    ]
    # Only looked at, as with a report: the record is there until somebody takes it out.
    asked = {"nameservers": [primary.address], "nameserver_port": primary.port, "authoritative_port": primary.port}
    if primary.kind == "bind":  # Knot listens on one of the two addresses of ns1 here
        assert run(**asked, backend="none", records=[record])["warnings"] == words
    assert run(**to, check=True, records=[record])["warnings"] == words
    assert run(**to, records=[record])["warnings"] == words
    again = run(**to, records=[record])
    assert (again["changed"], again.get("warnings", [])) == (False, [])


def test_others_who_may_send_are_not_dropped_unless_that_is_said(run, primary, to):
    old = "v=spf1 include:spf.example.net a ~all"
    nsupdate(primary, f"update delete {ZONE} TXT", f'update add {ZONE} 60 TXT "{old}"')
    mx = {"name": ZONE, "type": "MX", "values": ["10 new.example.org"], "state": "exact"}
    record = {"name": ZONE, "type": "TXT", "values": ["v=spf1 ip4:198.51.100.25 -all"], "owned_prefix": "v=spf1", "may_drop": ["a"]}
    before = dig(primary, ZONE, "MX")
    for check in (True, False):
        assert run(**to, check=check, records=[mx, record])["msg"] == (
            f"example.org: the SPF record {old!r} lets others send, by 'include:spf.example.net'; 'v=spf1 ip4:198.51.100.25 -all', which "
            "is to replace it, does not. Add those that are to go on sending to the domain's spf.terms in mail_domains, and the others to "
            "its spf.drop; nothing has been changed"
        )
    assert (dig(primary, ZONE, "MX"), dig(primary, ZONE, "TXT")) == (before, [f'"{old}"'])
    record["may_drop"].append("include:spf.example.net")
    assert run(**to, records=[record])["changed"] is True
    assert run(**to, records=[{**record, "may_drop": []}])["changed"] is False



def test_an_mx_of_others_is_not_taken_out_unless_that_is_said(run, primary, to):
    nsupdate(primary, f"update add {ZONE} 60 MX 30 mx.isp.example.", f"update add {ZONE} 60 MX 20 ours.example.net.")
    before = dig(primary, ZONE, "MX")
    text = {"name": ZONE, "type": "TXT", "values": ["not written either"]}
    record = {"name": ZONE, "type": "MX", "values": ["10 mail.example.org"], "state": "exact", "may_drop": ["ours.example.net"]}
    words = "example.org: the MX records have '30 mx.isp.example.', which the inventory does not declare. Add to the domain's mx in " \
            "mail_domains, with its preference, what is to go on taking mail ('mx.isp.example': 20), and with false what is not " \
            "('mx.isp.example': false)"
    for check in (True, False):
        assert run(**to, check=check, records=[text, record])["msg"] == f"{words}; nothing has been changed"
    assert dig(primary, ZONE, "MX") == before and '"not written either"' not in dig(primary, ZONE, "TXT")
    # Only looked at, as with a report.
    asked = {"nameservers": [primary.address], "nameserver_port": primary.port, "authoritative_port": primary.port}
    if primary.kind == "bind":
        assert run(**asked, backend="none", records=[record])["warnings"] == [words]
    # Another preference is no loss.
    kept = {**record, "values": ["10 mail.example.org", "5 mx.isp.example"]}
    assert run(**to, records=[kept])["changed"] is True
    assert dig(primary, ZONE, "MX") == ["10 mail.example.org.", "5 mx.isp.example."]
    record["may_drop"].append("MX.isp.example.")
    assert run(**to, records=[record])["changed"] is True
    assert dig(primary, ZONE, "MX") == ["10 mail.example.org."]
    # Without a list, as a playbook of one's own has it, the values are what they are to be.
    del record["may_drop"]
    assert run(**to, records=[{**record, "values": ["10 new.example.net"]}])["changed"] is True


ALIASES = (
    "update add s1._domainkey.example.org 60 CNAME keys.example.org.",
    'update add keys.example.org 60 TXT "v=DKIM1; " "k=rsa; p=AAAA"',
    "update add _dmarc.example.org 60 CNAME reports.example.org.",
    'update add reports.example.org 60 TXT "v=DMARC1; p=none"',
)
AT_ALIASES = [
    {"name": "example.org", "type": "MX", "values": ["10 mail.example.org"], "state": "exact"},
    {"name": "s1._domainkey.example.org", "type": "TXT", "values": ["v=DKIM1; k=rsa; p=AAAA"], "state": "exact"},
    {"name": "_dmarc.example.org", "type": "TXT", "values": ["v=DMARC1; p=reject"], "owned_prefix": "v=DMARC1"},
]


def test_what_stands_behind_an_alias_counts_and_what_does_not_fails_alone(run, primary, to):
    nsupdate(primary, *ALIASES)
    asked = {"nameservers": [primary.address], "nameserver_port": primary.port, "authoritative_port": primary.port}
    # Knot listens on one of the two addresses of ns1 here.
    seen = primary.kind == "bind"
    there = {**to, **asked, "wait": seen, "wait_timeout": 20}
    message = (
        "_dmarc.example.org TXT: there is a CNAME to reports.example.org., where there is 'v=DMARC1; p=none': "
        "publish 'v=DMARC1; p=reject' there, remove the CNAME, or do without the record"
    )
    for check, actions in ((True, ["create", "none", "none"]), (False, ["create", "none", "none"]), (False, ["none"] * 3)):
        result = run(**there, check=check, records=AT_ALIASES)
        assert (result["failed"], result["msg"], result["changed"]) == (True, message, actions[0] == "create")
        assert [record["action"] for record in result["records"]] == actions
        assert [record["served"] for record in result["records"]][1:] == ([True, False] if seen else [None, None])
    assert dig(primary, ZONE, "MX") == ["10 mail.example.org."]
    assert run(**there, records=AT_ALIASES[:2]).get("failed") is None
    looked = run(**asked, backend="none", records=AT_ALIASES)
    assert [record["served"] for record in looked["records"]] == [seen, seen, False]
    # The way out: the same content there. Or the other one, where the batch makes it.
    followed = [*AT_ALIASES, {"name": "reports.example.org", "type": "TXT", "values": ["v=DMARC1; p=reject"], "state": "exact"}]
    result = run(**there, records=followed)
    assert (result.get("failed"), [record["served"] for record in result["records"]]) == (None, [seen or None] * 4)


def test_an_alias_that_leads_nowhere_is_named(run, primary, to):
    nsupdate(primary, "update add s1._domainkey.example.org 60 CNAME keys.example.org.")
    result = run(**to, nameservers=[primary.address], nameserver_port=primary.port, records=AT_ALIASES[:2])
    assert result["msg"] == (
        "s1._domainkey.example.org TXT: there is a CNAME to keys.example.org., where there is no TXT: "
        "publish 'v=DKIM1; k=rsa; p=AAAA' there, remove the CNAME, or do without the record"
    )
    absent = {"name": "s1._domainkey.example.org", "type": "TXT", "state": "absent"}
    gone = run(**to, nameservers=[primary.address], nameserver_port=primary.port, **absent)
    assert (gone.get("failed"), gone["changed"]) == (None, False)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"name": "mail.example.org", "type": "CNAME", "values": ["old.example.org"]},
            "mail.example.org: a CNAME stands alone at its name, and there is A (RFC 1034 section 3.6.2)",
        ),
        (
            {"name": "a.sub.example.org", "zone": ZONE, "type": "TXT", "values": ["a"]},
            "zone 'example.org': 'a.sub.example.org' is not in this zone: 'sub.example.org' is delegated to other servers; "
            "give the zone 'sub.example.org' and its server",
        ),
        (
            {"name": "mail.example.net", "zone": ZONE, "type": "TXT", "values": ["a"]},
            "records[0] (TXT mail.example.net): name 'mail.example.net' is outside of zone 'example.org'; "
            "a name of several labels is absolute: write it in full",
        ),
    ],
)
def test_errors_before_anything_is_sent(run, primary, to, item, message):
    before = serial(primary)
    for check in (True, False):
        others = [{"name": "new.example.org", "type": "TXT", "values": ["a"]}] if "zone" not in item else []
        result = run(**to, check=check, records=[*others, item])
        assert (result["failed"], result["msg"]) == (True, message)
    assert serial(primary) == before


KEY = "key 'mail-update' (hmac-sha256)"
BADKEY = (
    "BADKEY to key {!r} (hmac-sha256): it does not know a key of this name and algorithm; check tsig_name and tsig_algorithm. "
    "Knot answers so, too, when its ACL does not let the key update this zone (action: update)"
)
INTEGRITY = ". BIND also refuses an MX or SRV record whose host is in the zone and has no address there (check-integrity)"
DENIED = "its policy does not allow it; check allow-update or update-policy of the zone, "
NOTAUTH = "it is not a primary server of this zone, or does not accept updates for it so signed; check server, zone, "


@pytest.mark.parametrize(
    ("args", "bind", "knot"),
    [
        pytest.param({"tsig_name": "nobody"}, BADKEY.format("nobody"), BADKEY.format("nobody"), id="unknown key"),
        pytest.param(
            {"tsig_secret": OTHER_SECRET},
            f"BADSIG to {KEY}: it knows the key by name, and the signature does not verify; check tsig_secret",
            f"BADSIG to {KEY}: it knows the key by name, and the signature does not verify; check tsig_secret",
            id="wrong secret",
        ),
        pytest.param(
            {"tsig_name": "no-rights"},
            f"REFUSED to an update with key 'no-rights' (hmac-sha256): {DENIED}and what the key may do{INTEGRITY}",
            BADKEY.format("no-rights"),
            id="key without rights",
        ),
        pytest.param(
            {"tsig_name": None, "tsig_secret": None},
            f"REFUSED to an update with no key: {DENIED}and set tsig_name and tsig_secret if it wants a signature{INTEGRITY}",
            f"NOTAUTH to an update with no key: {NOTAUTH}and set tsig_name and tsig_secret if it wants a signature",
            id="no key",
        ),
    ],
)
def test_what_a_server_refuses_in_words(run, primary, to, args, bind, knot):
    for check in (True, False):
        result = run("dns_txt_record", **{**to, **args}, check=check, name="new.example.org", values=["a"])
        words = {"bind": bind, "knot": knot}[primary.kind]
        assert (result["failed"], result["changed"]) == (True, False)
        assert result["msg"] == f"zone 'example.org': server 127.0.0.1 port {primary.port} answers {words}"
        assert SECRET not in str(result) and OTHER_SECRET not in str(result)
    assert dig(primary, "new.example.org", "TXT") == []


def test_a_rule_about_names_refuses_only_the_run_itself(run, daemons, tmp_path):
    port = servers.free_port()
    policy = f"type primary; update-policy {{ grant {servers.KEYS[0]} name _acme-challenge.{ZONE}. TXT; }};"
    server = servers.Named(tmp_path / "bind", "127.0.0.1", port, {ZONE: (servers.zone_text(ZONE), policy)})
    daemons.append(server)
    server.start(ZONE)
    args = {"server": "127.0.0.1", "port": port, "tsig_name": servers.KEYS[0], "tsig_secret": SECRET, "values": ["a"]}
    checked = run("dns_txt_record", **args, name="new.example.org", check=True)
    assert (checked.get("failed"), checked["changed"]) == (None, True)
    result = run("dns_txt_record", **args, name="new.example.org")
    assert (result["failed"], result["changed"], dig(server, "new.example.org", "TXT")) == (True, False, [])
    words = f"REFUSED to an update with {KEY}: {DENIED}and what the key may do{INTEGRITY}"
    assert result["msg"] == f"zone 'example.org': server 127.0.0.1 port {port} answers {words}"
    allowed = {**args, "name": "_acme-challenge.example.org"}
    assert [run("dns_txt_record", **allowed, check=check)["changed"] for check in (True, False, True)] == [True, True, False]


def test_clocks_that_differ(run, primary, to, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 1000)
    result = run("dns_txt_record", **to, name="new.example.org", values=["a"])
    assert result["msg"] == (
        f"zone 'example.org': server 127.0.0.1 port {primary.port} answers BADTIME to {KEY}: the clocks of this host and the server "
        "differ by more than the fudge of 300 s (RFC 8945 section 5.2.3); check the time of both"
    )


def written(primary, zone, name):
    key = dns_update.tsig_key("mail-update", "hmac-sha256", SECRET)
    value = dns_plan.wanted_records(
        [{"name": name, "zone": None, "type": "TXT", "values": ["a"], "ttl": 60, "state": "present", "owned_prefix": None}]
    )[0].values
    change = Change(zone, name, "TXT", RRset(), RRset(value, 60))
    _sent, errors = dns_update.Primary(Server(primary.address, primary.port), key, 5).write({zone: [change]})
    return errors[zone]


def test_a_zone_that_the_server_does_not_have(primary):
    words = {
        "bind": f"NOTAUTH to an update with {KEY}: {NOTAUTH}and what the key may do",
        "knot": f"NOTAUTH without a signature to a request signed with {KEY}. Knot answers so when it does not know the key (BADKEY), when "
        "the secret differs (BADSIG), when its ACL does not let the key update this zone, or when it does not have the zone: check "
        "tsig_name, tsig_secret and tsig_algorithm, the ACL (action: update) and the zone",
    }[primary.kind]
    assert written(primary, "example.net", "x.example.net") == f"zone 'example.net': server 127.0.0.1 port {primary.port} answers {words}"


def test_a_name_that_the_zone_does_not_have(primary):
    assert written(primary, ZONE, "x.example.net") == (
        f"zone 'example.org': server 127.0.0.1 port {primary.port} answers NOTZONE: a name of the update is not inside the zone that "
        "the server has there; check zone"
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "code", "left"),
    [
        pytest.param({"values": ["three"]}, "update add old.example.org 60 TXT four", "NXRRSET", ['"four"', '"one"', '"two"'], id="more"),
        pytest.param({"values": ["three"]}, "update delete old.example.org TXT", "NXRRSET", [], id="gone"),
        pytest.param({"name": "new", "values": ["a"]}, "update add new.example.org 60 TXT b", "YXRRSET", ['"b"'], id="new"),
        pytest.param({"name": "new", "values": ["a"]}, "update add new.example.org 60 CNAME mail", "YXRRSET", ["mail."], id="an alias"),
    ],
)
def test_somebody_else_was_faster(run, primary, to, monkeypatch, ours, theirs, code, left):
    write = dns_update.Primary.write

    def slow(self, zones):
        nsupdate(primary, theirs)
        return write(self, zones)

    monkeypatch.setattr(dns_update.Primary, "write", slow)
    args = {"name": "old", "zone": ZONE, **ours}
    result = run("dns_txt_record", **to, **args)
    assert result["msg"] == (
        f"zone 'example.org': server 127.0.0.1 port {primary.port} answers {code}: somebody changed these records between our reading and "
        "our writing (RFC 2136 section 3.2); nothing of this message was written; run again to see what is there now"
    )
    assert (result["changed"], result["records"][0]["changed"]) == (False, False)
    assert dig(primary, f"{args['name']}.example.org", "TXT") == left
    monkeypatch.undo()


def test_what_a_server_drops_silently_is_found_on_reading_again(run, primary, to, monkeypatch):
    write = dns_update.Primary.write

    def slow(self, zones):
        nsupdate(primary, "update add new.example.org 60 CNAME mail.example.org.")
        return write(self, zones)

    monkeypatch.setattr(dns_update.Primary, "write", slow)
    monkeypatch.setattr(dns.update.UpdateMessage, "absent", lambda *_args: None)
    result = run("dns_txt_record", **to, name="new.example.org", values=["a"])
    assert result["msg"] == (
        f"zone 'example.org': server 127.0.0.1 port {primary.port} accepted the update, but, read again, at new.example.org TXT "
        "there is a CNAME to mail.example.org., beside which other data is dropped silently (RFC 2136 section 3.4.2.2)"
    )


def test_more_than_a_message_holds(run, primary, to):
    records = [{"name": f"big{at}.example.org", "type": "TXT", "values": ["x" * 20000]} for at in range(7)]
    result = run(**to, records=records)
    assert (result["changed"], result["zones"][0]["messages"]) == (True, 3)
    assert result["warnings"] == [
        "zone 'example.org': the changes are too large for one DNS message and go in 3; each is atomic, all together are not"
    ]
    assert run(**to, records=records)["changed"] is False


def test_two_zones_and_one_that_refuses(run, primary, to):
    records = [
        {"name": "a.example.org", "type": "TXT", "values": ["a"]},
        {"name": "a.example.net", "zone": "example.net", "type": "TXT", "values": ["a"]},
    ]
    result = run(**to, records=records)
    assert result["failed"] is True
    assert result["msg"].startswith("zone 'example.net': server ")
    assert dig(primary, "a.example.org", "TXT") == []


def test_a_server_that_is_not_there(run, primary, to):
    primary.stop()
    result = run("dns_txt_record", **to, name="a.example.org", values=["a"])
    assert result["msg"] == (
        f"the primary server cannot be reached over TCP: 127.0.0.1 port {primary.port}: Connection refused; "
        "check server, port and the way there"
    )


def test_a_secret_that_is_none(run, primary, to):
    result = run("dns_txt_record", **{**to, "tsig_secret": "not/base64!"}, name="a.example.org", values=["a"])
    assert result["msg"] == "tsig_secret is not base64: give the secret as it stands in the key file, without quotation marks"


@pytest.mark.parametrize("sign_queries", [False, True])
def test_a_server_that_answers_only_signed_questions(run, daemons, tmp_path, sign_queries):
    policy = 'type primary; allow-query { key "mail-update"; }; allow-update { key "mail-update"; };'
    server = servers.Named(tmp_path / "shy", "127.0.0.1", servers.free_port(), {ZONE: (servers.zone_text(ZONE), policy), **OPEN})
    daemons.append(server)
    server.start("open.example")
    to = {"server": "127.0.0.1", "port": server.port, "tsig_name": "mail-update", "tsig_secret": SECRET, "sign_queries": sign_queries}
    assert run("dns_txt_record", **to, name="a.example.org", values=["a"])["changed"] is True
    assert run("dns_txt_record", **to, name="a.example.org", values=["a"])["changed"] is False
    result = run("dns_txt_record", **{**to, "tsig_secret": OTHER_SECRET}, zone=ZONE, name="a.example.org", values=["a"])
    assert result["msg"] == (
        f"zone 'example.org': server 127.0.0.1 port {server.port} answers BADSIG to {KEY}: it knows the key by name, and the signature "
        "does not verify; check tsig_secret"
    )
