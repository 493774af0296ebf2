# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dkimproxy_out.conf as people have written it, and which key signs for which domain by it."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._keys import dkimproxy

# As the package's example has it, and as guides change it.
EXAMPLE = """\
# specify what address/port DKIMproxy should listen on
listen    127.0.0.1:10027

# specify what address/port DKIMproxy forwards mail to
relay     127.0.0.1:10028

# specify what domains DKIMproxy can sign for (comma-separated, no spaces)
domain    Example.org,example.net

# specify what signatures to add
signature dkim(c=relaxed)
signature domainkeys(c=nofws)

# specify location of the private key
keyfile   /etc/dkimproxy/private/private.key

# specify the selector (i.e. the name of the key record put in DNS)
selector  pubkey
"""
KEY = "/etc/dkimproxy/private/private.key"


@pytest.mark.parametrize(
    ("text", "senders", "expected"),
    [
        (EXAMPLE, "", {"example.org": ("pubkey", KEY), "example.net": ("pubkey", KEY)}),
        # Without a signature line, one of DKIM; equals signs, dashes and spaces are allowed.
        ("domain = example.org\n  --keyfile=/k\nselector: s1\nreject-error\n", "", {"example.org": ("s1", "/k")}),
        ("domain a.test,, b.test\nkeyfile /k\nselector s\r\n", "", {"a.test": ("s", "/k"), "b.test": ("s", "/k")}),
        # What stands in a signature wins over what stands for all; the first of two is the one that is taken over.
        (
            "domain a.test\nkeyfile /k\nselector s\nsignature dkim(a=rsa-sha256, key=/own, s=mine)\nsignature dkim(a=rsa-sha1)\n", "",
            {"a.test": ("mine", "/own")},
        ),
        ("domain a.test\nkeyfile /k\nselector s\nsignature dkim(d=b.test)\n", "", {"b.test": ("s", "/k")}),
        # Only DomainKeys: nothing to take over.
        ("domain a.test\nkeyfile /k\nselector s\nsignature domainkeys\n", "", {}),
        # With a map, there is no signature for others unless one is asked for.
        (
            "keyfile /k\nselector s\nsender_map /etc/map\n",
            "# who      how\na.test  dkim(c=relaxed, key=/a, s=sa), domainkeys(key=/a, s=sa)\nme@b.test\n   dkim(s=sb)\n"
            "sub.c.test dkim(d=c.test)\n",
            {"a.test": ("sa", "/a"), "b.test": ("sb", "/k"), "c.test": ("s", "/k")},
        ),
        (
            EXAMPLE + "sender_map /etc/map\n", "example.org dkim(key=/o, s=so)\n",
            {"example.org": ("so", "/o"), "example.net": ("pubkey", KEY)},
        ),
        ("", "", {}),
        ("# nothing\nlisten 127.0.0.1:10027\n", "", {}),
    ],
)
def test_which_key_signs_for_which_domain(text, senders, expected):
    assert dkimproxy.signers(text, "dkimproxy_out.conf", senders) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("domain a.test\nselector s\n", "x.conf: the signature for a.test has no keyfile"),
        ("domain a.test\nkeyfile /k\n", "x.conf: the signature for a.test has no selector"),
        ("domain a.test\nkeyfile private.key\nselector s\n", "x.conf: keyfile 'private.key' must be an absolute path"),
        ("domain a.test\nkeyfile /k\nkeyfile /l\nselector s\n", "x.conf: keyfile is there twice, with different values"),
        ("domain a.test\nkeyfile /k\nselector s\nsignature dkim(\n",
         "x.conf: signature 'dkim(' is not of the form dkim or dkim(key=..., s=..., d=...)"),
        ("domain a.test\nkeyfile /k\nselector -s\n",
         "x.conf: selector '-s' has a bad label '-s': letters, digits, underscores and inner hyphens only "
         "(RFC 6376 section 3.1, RFC 8552)"),
    ],
)
def test_what_says_too_little_is_told(text, error):
    with pytest.raises(MailError) as found:
        dkimproxy.signers(text, "x.conf")
    assert str(found.value) == error


def test_the_map_is_named():
    assert dkimproxy.sender_map(EXAMPLE) is None
    assert dkimproxy.sender_map(EXAMPLE + "sender_map   /etc/dkimproxy/senders\n") == "/etc/dkimproxy/senders"
