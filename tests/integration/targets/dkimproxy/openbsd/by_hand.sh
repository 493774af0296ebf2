#!/bin/ksh
# Runs on the host, beside dkimproxy_out.conf: OpenBSD's own smtpd, which sends through dkimproxy and takes back, as guides have it.
set -euo pipefail
pkg_add -Ix dkimproxy

# The key, by openssl and as short as it was usual. LibreSSL writes it as PKCS#1, which OpenSSL does when it is told to.
mkdir -p /etc/ssl/dkim/private
openssl genrsa -traditional -out /etc/ssl/dkim/private/private.key 1024 2>/dev/null
openssl rsa -in /etc/ssl/dkim/private/private.key -pubout -out /etc/ssl/dkim/public.key 2>/dev/null
chgrp -R _dkimproxy /etc/ssl/dkim/private
chmod 750 /etc/ssl/dkim/private
chmod 440 /etc/ssl/dkim/private/private.key

# As it is installed, it names no key that is there, and does not start.
rcctl enable dkimproxy_out
rcctl start dkimproxy_out && exit 1
cat dkimproxy_out.conf >/etc/dkimproxy_out.conf
rcctl start dkimproxy_out
# Beside it, the one that verifies: nothing is sent through it here.
rcctl enable dkimproxy_in
rcctl start dkimproxy_in

cat >/etc/mail/smtpd.conf <<'END'
table aliases file:/etc/mail/aliases

listen on socket
listen on lo0
listen on lo0 port 10028 tag DKIM

action "local" mbox alias <aliases>
action "relay" relay helo mail.openbsd-d.test
action "relay_dkim" relay host smtp://127.0.0.1:10027

match for local action "local"
match tag DKIM for any action "relay"
match from local for any action "relay_dkim"
END
smtpd -n
rcctl restart smtpd
