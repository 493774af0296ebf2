# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is answered, and which reports nobody gets, by Lua alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d"
PROVEN = """
package.preload['rspamd_util'] = function() return { get_tld = function(name) return name:match('[^.]+%.[^.]+$') or name end } end
rspamd_paths = { LOCAL_CONFDIR = '' }
local symbols = {}
rspamd_config = {
  add_map = function() return { get_key = function() end } end,
  register_symbol = function(_, symbol) symbols[symbol.name] = symbol end,
}
local ours = { ['example.org'] = true }
local options = { users = false, domains = ours, here = ours, delimiter = '+', fqdn = 'mail.example.org' }
local senders = assert(loadfile(place .. '/postmaster-mail-senders.lua'))(options)
assert(loadfile(place .. '/postmaster-mail-answers.lua'))(options, senders)
local task = { get_user = function() return user end }
function task:get_from_ip() return { is_valid = function() return true end, is_local = function() return is_local end } end
function task:get_from() return { { addr = sender, domain = sender:match('@(.*)') or '' } } end
function task:has_symbol(name) return name == 'R_SPF_ALLOW' and spf end
function task:get_symbol() return dkim and { { options = { dkim } } } end
function task:get_helo() return 'helo.example.com' end
function task:set_milter_reply(reply) said = reply.add_headers['X-Auto-Response-Suppress'] end
symbols.SENDER_NOT_PROVEN.callback(task)
io.write(said or 'proven')
"""
REPORT = """From: MAILER-DAEMON@mail.example.org\nContent-Type: multipart/report; report-type=delivery-status; boundary="x"\n
--x\nContent-Type: text/plain; charset=us-ascii\n\n{said}\n--x\nContent-Description: Delivery report
Content-Type: message/delivery-status\n
Reporting-MTA: dns; mail.example.org\n\nFinal-Recipient: rfc822; x@example.net\nDiagnostic-Code: smtp; {said}\n
--x\nContent-Description: Message\nContent-Type: {kind}\nContent-Transfer-Encoding: 8bit
\nReturn-Path: <a@example.com>\n{header}Subject: one\n
{body}\n--x--\n"""


def lua(text: str) -> str:
    return subprocess.run(["lua5.1", "-e", text], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("found", "proven"), [
    ("sender, spf = 'a@example.com', true", True),
    ("sender, dkim = 'a@example.com', 'example.com:+'", True),
    ("sender, dkim = 'a@bounces.example.com', 'mail.example.com:+'", True),
    ("sender, dkim = 'a@example.com', 'example.com:-'", False),
    ("sender, dkim = 'a@example.com', 'example.net:+'", False),
    ("sender = 'a@example.com'", False),
    ("sender, user = 'a@example.org', 'a@example.org'", True),
    ("sender, is_local = 'a@example.org', true", True),
    ("sender, spf = '', false", True),  # who is nobody gets no answer anyway
])  # fmt: skip
def test_a_sender_is_proven_by_spf_or_by_a_signature_of_its_domain(found, proven):
    assert (lua(f"place = [[{PLACE}]]\n{found}\n{PROVEN}") == "proven") == proven


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers", "Message/RFC822; charset=us-ascii"])
@pytest.mark.parametrize(("header", "why"), [
    ("", "nil"), ("X-Auto-Response-Suppress: All\n", "nil"), ("X-Spam: No\n", "nil"), ("X-Other: Unproven\n", "nil"),
    ("x-auto-response-suppress: All, Unproven\n", "the sender is not proven"),
    ("X-Auto-Response-Suppress: OOF\nX-Auto-Response-Suppress: All,\n Unproven\n", "the sender is not proven"),
    ("X-Spam: Yes\n", "spam"),
])  # fmt: skip
def test_a_report_is_for_whoever_was_proven_to_have_sent_the_message(header, why, kind, ending):
    quoted = "X-Auto-Response-Suppress: Unproven"
    text = REPORT.format(said=f"550 {quoted}", kind=kind, header=header, body=f"{quoted}\nX-Spam: Yes\n").replace("\n", ending)
    assert unwanted(text) == why


def test_what_is_no_report_is_not_looked_at():
    assert unwanted("From: a@example.org\n\nContent-Type: message/rfc822\n\nX-Spam: Yes\n\n") == "nil"


@pytest.mark.parametrize(("recipients", "dropped"), [
    ("'me@example.org'", False), ("'me@example.org', 'root@Mail.Example.org'", False), ("'x@example.com'", True),
    ("'SRS0=aaaa=bb=example.com=x@example.org'", True), ("'me@example.org', 'x@example.com'", True),
    ("'me@example.org.srs.invalid'", True),  # what was forwarded, on its way back
])  # fmt: skip
def test_a_user_learns_what_became_of_mail_that_a_script_has_redirected(recipients, dropped):
    text = REPORT.format(said="no", kind="message/rfc822", header="X-Auto-Response-Suppress: All, Unproven\n", body="")
    found = lua(f"""
local symbols, found = {{}}, {{}}
rspamd_config = {{ register_symbol = function(_, symbol) symbols[symbol.name] = symbol end }}
local options = {{ fqdn = 'mail.example.org', here = {{ ['example.org'] = true, ['mail.example.org'] = true }} }}
assert(loadfile([[{PLACE}/postmaster-mail-answers.lua]]))(options, {{ of_this_host = function() return true end }})
local task = {{ get_user = function() end, get_content = function() return [[{text}]] end }}
function task:get_from(kind) return kind == 'mime' and {{ {{ addr = 'MAILER-DAEMON@mail.example.org' }} }} or {{}} end
function task:get_recipients()
  for _, address in ipairs({{ {recipients} }}) do found[#found + 1] = {{ addr = address }} end
  return found
end
function task:set_pre_result(action) said = action end
symbols.REPORT_UNWANTED.callback(task)
io.write(said or '-')
""")
    assert found == ("discard" if dropped else "-")


def unwanted(text: str) -> str:
    call = f"""
rspamd_config = {{ register_symbol = function() end }}
local answers = assert(loadfile([[{PLACE}/postmaster-mail-answers.lua]]))({{ fqdn = '' }}, {{}})
io.write(tostring(answers.unwanted(io.read('*a'))))
"""
    return subprocess.run(["lua5.1", "-e", call], input=text.encode(), capture_output=True, check=True).stdout.decode()
