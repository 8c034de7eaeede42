#include "symsrc/ssh_uri.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/text.h"

#define SSH_PREFIX   "ssh://"
#define VSOCK_PREFIX "vsock:"
#define SSH_PORT     22

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool all_in(const char *s, const char *others)
{
	for (; *s; s++) {
		if (!is_alnum(*s) && !strchr(others, *s))
			return false;
	}
	return true;
}

static bool is_ipv6(const char *host)
{
	return strchr(host, ':') && all_in(host, ":.%-_");
}

bool ssh_host_is_valid(const char *host)
{
	size_t n = strlen(host);

	if (n == 0 || n > SSH_HOST_MAX - 3 || host[0] == '-' || host[0] == '.')
		return false;
	if (is_ipv6(host))
		return true;
	if (strspn(host, "0123456789") == n)
		return false;
	return all_in(host, ".-_");
}

static bool user_is_valid(const char *user)
{
	return user[0] && user[0] != '-' && all_in(user, "._-@+$");
}

/* Copies n bytes as a string; false when they do not fit. */
static bool copy(char *dst, size_t size, const char *src, size_t n)
{
	if (n >= size)
		return false;
	memcpy(dst, src, n);
	dst[n] = '\0';
	return true;
}

/* %XX -> a byte, into dst. False for a bad escape, a NUL, or when it does not fit. */
static bool unescape(char *dst, size_t size, const char *src, size_t n)
{
	char hex[3] = {0};
	uint64_t c;

	for (size_t i = 0; i < n; i++) {
		c = (unsigned char)src[i];
		if (c == '%') {
			if (n - i < 3)
				return false;
			memcpy(hex, src + i + 1, 2);
			if (!text_to_u64(hex, 16, 255, &c) || c == 0)
				return false;
			i += 2;
		}
		if (size < 2)
			return false;
		*dst++ = (char)c;
		size--;
	}
	*dst = '\0';
	return true;
}

static char *field_for(struct ssh_query *q, const char *name, size_t n)
{
	const struct {
		const char *name;
		char *to;
	} fields[] = {
		{"identity", q->identity}, {"known_hosts", q->known_hosts}, {"config", q->config}};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (strlen(fields[i].name) == n && memcmp(fields[i].name, name, n) == 0)
			return fields[i].to;
	}
	return NULL;
}

/* modules=yes or no. */
static int parse_modules(const char *value, size_t n, struct ssh_query *q, struct errmsg *why)
{
	bool yes = n == 3 && memcmp(value, "yes", n) == 0;

	if (!yes && !(n == 2 && memcmp(value, "no", n) == 0))
		return errmsg_set(why, -EINVAL, "symbol source: modules= wants yes or no");
	q->modules = yes;
	return 0;
}

static int parse_pair(const char *pair, size_t n, struct ssh_query *q, struct errmsg *why)
{
	const char *eq = memchr(pair, '=', n);
	size_t name_len = eq ? (size_t)(eq - pair) : n;
	char *to = field_for(q, pair, name_len);

	if (eq && name_len == strlen("modules") && memcmp(pair, "modules", name_len) == 0)
		return parse_modules(eq + 1, n - name_len - 1, q, why);
	if (!to)
		return errmsg_set(why, -EINVAL,
				  "symbol source: \"%.*s\" is none of identity, known_hosts, "
				  "config, modules",
				  (int)name_len, pair);
	if (!eq || !unescape(to, SSH_FILE_MAX, eq + 1, n - name_len - 1) || !*to)
		return errmsg_set(why, -EINVAL, "symbol source: %.*s= wants a file name",
				  (int)name_len, pair);
	/* The daemon works in /, not where it was started. */
	if (*to != '/' && !(to == q->config && strcmp(to, "yes") == 0))
		return errmsg_set(why, -EINVAL,
				  "symbol source: %.*s=%s: wants a path that begins with /",
				  (int)name_len, pair, to);
	return 0;
}

int ssh_query_parse(const char *query, struct ssh_query *ret, struct errmsg *why)
{
	struct ssh_query q = {0};
	int r;

	while (*query) {
		size_t n = strcspn(query, "&");

		r = parse_pair(query, n, &q, why);
		if (r < 0)
			return r;
		query += n + (query[n] == '&');
	}
	*ret = q;
	return 0;
}

/* ":22" of n bytes, or nothing. */
static bool parse_port(const char *s, size_t n, uint16_t *ret)
{
	char port[8];
	uint64_t v;

	if (n == 0)
		return true;
	if (s[0] != ':' || !copy(port, sizeof(port), s + 1, n - 1) ||
	    !text_to_u64(port, 10, UINT16_MAX, &v) || v == 0)
		return false;
	*ret = (uint16_t)v;
	return true;
}

void ssh_uri_set_cid(struct ssh_uri *u, uint32_t cid)
{
	u->cid = cid;
	snprintf(u->host, sizeof(u->host), "vsock-%u", cid);
}

/* "3:22", "3" of n bytes. 0 and 2 are the hypervisor and the host; the last stands for any
 * (vsock(7)). */
static bool parse_cid_port(const char *s, size_t n, struct ssh_uri *u)
{
	const char *colon = memchr(s, ':', n);
	size_t len = colon ? (size_t)(colon - s) : n;
	char cid[12];
	uint64_t v;

	if (!copy(cid, sizeof(cid), s, len) || !text_to_u64(cid, 10, UINT32_MAX - 1, &v) ||
	    v == 0 || v == 2)
		return false;
	ssh_uri_set_cid(u, (uint32_t)v);
	return parse_port(s + len, n - len, &u->port);
}

/* "[::1]:22", "host:22", "host" of n bytes. */
static bool parse_host_port(const char *s, size_t n, struct ssh_uri *u)
{
	bool bracket = n > 0 && s[0] == '[';
	const char *end = memchr(s, bracket ? ']' : ':', n);
	size_t host_len = end ? (size_t)(end - s) : n;

	if (bracket && !end)
		return false;
	if (!copy(u->host, sizeof(u->host), s + bracket, host_len - bracket))
		return false;
	s += host_len + bracket;
	n -= host_len + bracket;
	if (!ssh_host_is_valid(u->host) || (bracket && !is_ipv6(u->host)))
		return false;
	return parse_port(s, n, &u->port);
}

static bool parse_user(const char **s, size_t *n, struct ssh_uri *u)
{
	const char *at = memrchr(*s, '@', *n);
	size_t len = at ? (size_t)(at - *s) : 0;

	if (!at)
		return true;
	if (!copy(u->user, sizeof(u->user), *s, len) || !user_is_valid(u->user))
		return false;
	*s += len + 1;
	*n -= len + 1;
	return true;
}

/* What stands between the prefix and the query. */
static int parse_place(const char *uri, const char *s, size_t n, bool vsock, struct ssh_uri *u,
		       struct errmsg *why)
{
	if (!vsock && n > 0 && s[n - 1] == '/')
		n--;
	if (!parse_user(&s, &n, u))
		return errmsg_set(why, -EINVAL, "symbol source \"%s\": no user name before the @",
				  uri);
	if (!(vsock ? parse_cid_port(s, n, u) : parse_host_port(s, n, u)))
		return errmsg_set(why, -EINVAL, "symbol source \"%s\": not %s", uri,
				  vsock ? VSOCK_PREFIX "CID[:PORT]"
					: SSH_PREFIX "[user@]host[:port]");
	return 0;
}

int ssh_uri_parse(const char *uri, struct ssh_uri *ret, struct errmsg *why)
{
	bool vsock = strncmp(uri, VSOCK_PREFIX, strlen(VSOCK_PREFIX)) == 0;
	const char *s = uri + strlen(vsock ? VSOCK_PREFIX : SSH_PREFIX);
	struct ssh_uri u = {0};
	size_t n;
	int r = 0;

	if (!vsock && strncmp(uri, SSH_PREFIX, strlen(SSH_PREFIX)) != 0)
		return errmsg_set(why, -EINVAL, "symbol source \"%s\": not ssh://", uri);
	n = strcspn(s, "?");
	if (s[n] == '?')
		r = ssh_query_parse(s + n + 1, &u.query, why);
	if (r == 0)
		r = parse_place(uri, s, n, vsock, &u, why);
	if (r == 0)
		*ret = u;
	return r;
}

/* Behind the prefix: the CID, or the host. */
static void show_place(const struct ssh_uri *u, char *buf, size_t size)
{
	bool v6 = strchr(u->host, ':') != NULL;

	if (u->cid)
		snprintf(buf, size, "%u", u->cid);
	else
		snprintf(buf, size, "%s%s%s", v6 ? "[" : "", u->host, v6 ? "]" : "");
}

void ssh_uri_show(const struct ssh_uri *u, char *buf, size_t size)
{
	char place[SSH_HOST_MAX + 2], port[8] = "";

	show_place(u, place, sizeof(place));
	if (u->port != 0 && u->port != SSH_PORT)
		snprintf(port, sizeof(port), ":%u", u->port);
	snprintf(buf, size, "%s%s%s%s%s", u->cid ? VSOCK_PREFIX : SSH_PREFIX, u->user,
		 u->user[0] ? "@" : "", place, port);
}
