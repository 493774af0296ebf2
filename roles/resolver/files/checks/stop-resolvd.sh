#!/bin/sh
# Have resolvd(8) leave /etc/resolv.conf alone; where there is no resolvd, rcctl says so with 2. Fails if it still runs.
rcctl disable resolvd
rcctl stop resolvd
! rcctl check resolvd
