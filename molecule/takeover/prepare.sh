#!/bin/bash
# Runs on the host: what a person would have typed over the years.
set -euo pipefail
# A certificate of an authority of their own.
mkdir -m 0700 /etc/ssl/hand
cd /etc/ssl/hand
openssl req -x509 -newkey rsa:2048 -nodes -days 900 -subj "/CN=By hand" -keyout ca.key -out ca.pem 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj "/CN=mail.takeover.test" -keyout mail.key -out mail.csr 2>/dev/null
openssl x509 -req -in mail.csr -CA ca.pem -CAkey ca.key -days 800 -out leaf.pem \
  -extfile <(echo "subjectAltName=DNS:mail.takeover.test") 2>/dev/null
cat leaf.pem ca.pem >mail.pem

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -o Dpkg::Options::=--force-confold install -y \
  postfix dovecot-imapd opendkim opendkim-tools ufw systemd-resolved swaks >/dev/null

# A firewall.
ufw allow 22/tcp >/dev/null
ufw allow from 198.51.100.0/24 to any port 143 proto tcp >/dev/null
ufw --force enable >/dev/null

# DKIM keys, the second as short as old guides made them.
mkdir -p /etc/opendkim/keys/{takeover,second}.test
opendkim-genkey -b 2048 -d takeover.test -s mail -D /etc/opendkim/keys/takeover.test
opendkim-genkey -b 1024 -d second.test -s old -D /etc/opendkim/keys/second.test
chown -R opendkim: /etc/opendkim/keys
chmod -R go= /etc/opendkim/keys

# Mailboxes of a user with a number of their choice, with mail in folders; one user's elsewhere.
groupadd -g 2000 vmail
useradd -u 2000 -g 2000 -d /var/vmail -s /usr/sbin/nologin -m vmail
message() {  # DIRECTORY NAME SUBJECT
  mkdir -p "$1"/{cur,new,tmp}
  printf 'From: friend@client.test\r\nTo: somebody@takeover.test\r\nMessage-ID: <%s@hand>\r\nSubject: %s\r\n\r\nWritten years ago.\r\n' "$3" "$3" >"$1/$2"
}
message /var/vmail/takeover.test/old/Maildir cur/1500000001.M1P1.hand:2,FS first
message /var/vmail/takeover.test/old/Maildir cur/1500000002.M1P2.hand:2,S second
message /var/vmail/takeover.test/old/Maildir new/1500000003.M1P3.hand third
message /var/vmail/takeover.test/old/Maildir/.Letters cur/1500000004.M1P4.hand:2,RS fourth
message /var/vmail/takeover.test/gone/Maildir cur/1500000005.M1P5.hand:2,S fifth
message /var/vmail/second.test/two/Maildir cur/1500000006.M1P6.hand:2,S sixth
useradd -m moved
message /home/moved/Maildir cur/1500000007.M1P7.hand:2,FS seventh
message /home/moved/Maildir/.Letters cur/1500000008.M1P8.hand:2,S eighth
chown -R moved: /home/moved
chown -R vmail: /var/vmail
chmod -R go= /var/vmail /home/moved

chgrp dovecot /etc/dovecot/users
chmod 0640 /etc/dovecot/users
newaliases
systemctl restart systemd-resolved opendkim postfix dovecot

# All of it works: mail is read, so it has its numbers, and mail that comes in is signed and waits in the queue.
doveadm mailbox status -u old@takeover.test "messages unseen uidnext uidvalidity" "*" >/etc/ssl/hand/status
doveadm auth test old@takeover.test old-password >/dev/null
swaks --silent 2 --server 127.0.0.1 --from old@takeover.test --to old@takeover.test --header "Subject: waiting" \
  --header "Message-ID: <waiting@hand>"
for _ in $(seq 50); do
  ! postqueue -j | grep -q '"queue_name": "deferred"' || break
  sleep 0.2  # the queue has no event to wait for
done
postqueue -j | grep -q '"queue_name": "deferred"'
find /etc/postfix /etc/dovecot /etc/opendkim* /etc/ssl/hand /var/vmail -type f -exec sha256sum {} + | sort -k 2 >/root/by-hand
