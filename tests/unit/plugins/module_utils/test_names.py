# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read is what a daemon would read, and nothing more: Python's own functions read more."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import LONGEST_RULE, MailError, shown

KELVIN, LONG_S, DOTLESS_I, SUPERSCRIPT, FULLWIDTH = "\u212a", "\u017f", "\u0131", "\u00b2", "\uff11"
INJECTED = '2001:db8::1%" }\nmatch from any for any action "send" #'


def refused(function, *arguments):
    with pytest.raises(MailError) as error:
        function(*arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("198.51.100.25", "198.51.100.25"),
        ("2001:DB8:0:0::25", "2001:db8::25"),
        ("::ffff:198.51.100.25", "198.51.100.25"),
        ("64:ff9b::198.51.100.25", "64:ff9b::c633:6419"),
        ("::", "::"),
    ],
)
def test_an_address_becomes_canonical(text, canonical):
    assert str(_names.ip_address(text)) == canonical
    assert _names.is_ip_address(text)


@pytest.mark.parametrize(
    "value",
    [
        INJECTED, "2001:db8::1%", "fe80::1%eth0", "2001:db8::1%eth0", "198.51.100.25%eth0", 1, 0, True, None, b"\1\2\3\4", 3.0, "", " ",
        "198.51.100.25 ", "\n198.51.100.25", "198.51.100.25\n", "198.51.100.025", "198.51.100", "198.51.100.256",
            f"198.51.100.{SUPERSCRIPT}",
        f"{FULLWIDTH}98.51.100.25", "2001:db8::g", "[::1]", "1" * 100000, "::1/128", "2001:db8::1\0", "0x7f.1", "127.1",
    ],
)  # fmt: skip
def test_all_else_is_no_address(value):
    assert not _names.is_ip_address(value)
    assert _names.cidr(value) is None or value == "::1/128"
    assert len(refused(_names.ip_address, value, "mail_addresses")) < 500
    assert refused(_names.ip_address, value, "mail_addresses").startswith("mail_addresses ")


def test_a_socket_may_have_a_zone():
    assert [text for text in ("::1", "fe80::1%eth0", "fe80::1%2", "127.0.0.1", "fe80::1%", "fe80::1%a b", "127.0.0.1%lo", "fe80::1%\n")
            if _names.is_socket_address(text)] == ["::1", "fe80::1%eth0", "fe80::1%2", "127.0.0.1"]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("198.51.100.25", "198.51.100.25/32"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("::ffff:198.51.100.0/120", "198.51.100.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_network_becomes_canonical(text, canonical):
    assert str(_names.ip_network(text)) == canonical


@pytest.mark.parametrize(
    "value",
    [INJECTED, "198.51.100.0/255.255.255.0", "198.51.100.0/0.0.0.255", "198.51.100.0/33", "2001:db8::/129", "198.51.100.0/",
     "198.51.100.0/024",
     "198.51.100.0/+24", "198.51.100.0/24/8", "198.51.100.0 /24", 8, True, ("198.51.100.0", 24), None, f"198.51.100.0/{SUPERSCRIPT}"],
)  # fmt: skip
def test_all_else_is_no_network(value):
    assert "is not an IPv4 or IPv6 address or network in CIDR form" in refused(_names.ip_network, value, "mail_filter.trusted")


def test_host_bits_are_left_out_where_that_is_allowed():
    text = "mail_filter.trusted '198.51.100.1/24' has host bits set: the network is 198.51.100.0/24 (RFC 4632 section 3.1)"
    assert refused(_names.ip_network, "198.51.100.1/24", "mail_filter.trusted") == text
    assert str(_names.ip_network("198.51.100.1/24", strict=False)) == "198.51.100.0/24"


def test_numbers_are_exact():
    assert [_names.whole_number(value, "x", -5, 100) for value in (7, "7", "007", -5, "-5")] == [7, 7, 7, -5, -5]
    assert [_names.number(value, "x", 0, 100) for value in (7, 7.5, "7", "7.5")] == [7, 7.5, 7.0, 7.5]
    for value in (True, None, "", " 7", "7\n", "1_0", SUPERSCRIPT, FULLWIDTH, "0x7", "1e1", "7.0", 7.0, float("inf"), float("nan"), 101,
        "9" * 5000,
                  1 << 70000, [7]):
        text = refused(_names.whole_number, value, "x", -5, 100)
        assert text.startswith("x ") and text.endswith(" must be a whole number from -5 to 100") and len(text) < 400
    for value in (True, None, "", "7.", ".5", "1_0", "1e1", "inf", "nan", FULLWIDTH, float("inf"), float("nan"), 101, 1 << 70000, {}):
        assert refused(_names.number, value, "x", 0, 100).endswith(" must be a number from 0 to 100")


def test_numbers_of_records():
    assert [_names.decimal(text, "x", 65535) for text in ("0", "000", "7", "0" * 5000 + "65535")] == [0, 0, 7, 65535]
    for text in ("", "-1", "-0", "+1", " 1", "1\n", "1_0", SUPERSCRIPT, FULLWIDTH, "65536", "9" * 5000, "0x7"):
        shown = refused(_names.decimal, text, "MX preference", 65535)
        assert shown.startswith("MX preference '") and shown.endswith("' is not a number from 0 to 65535") and len(shown) < 400


@pytest.mark.parametrize("value", [f"{KELVIN}ate@example.org", f"{LONG_S}ue@example.org", f"{FULLWIDTH}@example.org",
    "j\u00f6rg@example.org"])
def test_letters_of_other_scripts_are_not_made_into_ours(value):
    text = refused(_names.address, value, "mail_users")
    assert text == f"mail_users {value!r} has a local part that is not ASCII, for which no MTA here is set up (RFC 6531)"


def test_domains_of_other_scripts_are_not_made_into_ours():
    text = "domain 'exampl\u0117.org' is not ASCII: write the A-label form, xn--... (RFC 5890 section 2.3.2.1)"
    assert refused(_names.domain_name, "exampl\u0117.org") == text
    assert "not ASCII" in refused(_names.owner_name, f"{KELVIN}.example.org")
    assert "not ASCII" in refused(_names.address, f"me@{KELVIN}.example.org")


def test_an_address_that_fits_no_path_is_refused():
    domain = ".".join(["a" * 60] * 4)
    assert len(_names.address(f"{'b' * 10}@{domain}")) == 254
    assert refused(_names.address, f"{'b' * 11}@{domain}").endswith("is longer than the 254 octets that fit between < and > (RFC 5321 "
                                                                    "section 4.5.3.1.3)")


@pytest.mark.parametrize(
    ("address", "delimiters", "plain"),
    [
        ("me@example.org", "+", "me@example.org"), ("me+x@example.org", "+", "me@example.org"),
        ("me+x+y@example.org", "+", "me@example.org"),
        ("me-x+y@example.org", "+-", "me@example.org"), ("me+x-y@example.org", "+-", "me@example.org"),
        ("me-x@example.org", "+", "me-x@example.org"), ("me+@example.org", "+", "me@example.org"),
        ("+me@example.org", "+", "+me@example.org"), ("@ex-ample.org", "-", "@ex-ample.org"), ("me@ex-ample.org", "-", "me@ex-ample.org"),
    ],
)  # fmt: skip
def test_a_detail_begins_at_the_first_delimiter(address, delimiters, plain):
    assert _names.without_detail(address, delimiters) == plain


def test_a_wildcard_is_the_first_label_alone():
    assert _names.owner_name("*.Example.org.") == "*.example.org"
    assert "longer than 253" in refused(_names.owner_name, "*." * 3000 + "org")
    assert "bad label '*'" in refused(_names.owner_name, "*.*.example.org")
    assert "longer than 253" in refused(_names.owner_name, "*." + ".".join(["a" * 49] * 5) + ".bb")


def test_a_value_is_shown_on_a_line_or_two():
    assert shown("x") == "'x'" and shown(7) == "7" and shown("a\nb") == r"'a\nb'"
    assert shown("x" * 100000) == f"'{'x' * 297}...'"
    assert max(len(shown(value)) for value in ("\0" * 100000, "\U0010ffff" * 100000, ["x" * 100000], {"a": "b" * 100000},
        1 << 70000)) <= 602
    assert shown(1 << 70000) == "a number of thousands of digits"


def test_a_rule_keeps_its_beginning_and_its_end():
    text = str(MailError(f"option {'x' * 100000} breaks the rule (RFC 1)"))
    assert len(text) <= LONGEST_RULE and text.startswith("option x") and text.endswith(" breaks the rule (RFC 1)")
    assert str(MailError("a\n- b", ["a", "b"])) == "a\n- b"
