/* Copyright (c) 2026 The postmaster.mail developers
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Debian's Dovecot has the names of its users built in; OpenBSD's has others. Loaded into Dovecot's programs alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

static const char *openbsd(const char *name)
{
	if (strcmp(name, "dovecot") == 0)
		return "_dovecot";
	return strcmp(name, "dovenull") == 0 ? "_dovenull" : name;
}

struct passwd *getpwnam(const char *name)
{
	struct passwd *(*next)(const char *) = dlsym(RTLD_NEXT, "getpwnam");
	return next(openbsd(name));
}

struct group *getgrnam(const char *name)
{
	struct group *(*next)(const char *) = dlsym(RTLD_NEXT, "getgrnam");
	return next(openbsd(name));
}

int getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, struct passwd **result)
{
	int (*next)(const char *, struct passwd *, char *, size_t, struct passwd **) = dlsym(RTLD_NEXT, "getpwnam_r");
	return next(openbsd(name), entry, buffer, size, result);
}

int getgrnam_r(const char *name, struct group *entry, char *buffer, size_t size, struct group **result)
{
	int (*next)(const char *, struct group *, char *, size_t, struct group **) = dlsym(RTLD_NEXT, "getgrnam_r");
	return next(openbsd(name), entry, buffer, size, result);
}
