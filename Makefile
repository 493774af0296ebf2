# Two commands do all of it on a Debian machine, as root: `make demo` and `make test`. README.md says more.
# Each of them first calls tests/ci/setup, which installs what is missing; what they cache is in /var/cache/postmaster-mail.
SHELL := /bin/bash
CACHE := $(or $(POSTMASTER_MAIL_CACHE),/var/cache/postmaster-mail)
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test test-slow lint unit integration molecule bench clean

help:  ## this list
	@sed -n 's/^\([a-z -]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 48

demo:  ## build a mail server in the test network, send mail both ways, print its promises; leaves it up
	tests/ci/setup
	tests/demo/run

demo-down:  ## take the demo's hosts and network down
	tests/ci/setup
	tests/testnet/testnet down

test:  ## everything that is tested; KEEP=1 leaves the hosts up
	tests/ci/test

test-slow:  ## what takes too long for every change: Mailman, dkimproxy, an upgrade of Debian, a switch of the MTA, faults while mail flows, five hundred users at once, Postfix on OpenBSD, all of testssl, virtual machines
	tests/ci/test slow

lint unit integration molecule bench:  ## one part of `make test`, and the benchmark
	tests/ci/test $@

clean:  ## take everything down and delete what the commands above have cached
	if [ -e $(CACHE)/venv-oldest/.stamp ]; then tests/testnet/testnet down; fi
	if [ -d $(CACHE) ]; then cd $(CACHE) && rm -rf venv-{oldest,newest,bench} pycache general collections ansible-home ruff hypothesis testnet{,-*} hosts{,-*} proxy{,-*} base molecule{,-*} .setup.lock .test.lock && rmdir --ignore-fail-on-non-empty $(CACHE); fi
