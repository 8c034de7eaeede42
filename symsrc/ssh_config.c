#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "symsrc/base/cleanup.h"
#include "symsrc/base/io.h"
#include "symsrc/ssh_link_impl.h"

#define SSH_CONFIG_MAX	 (1u << 20)
#define SSH_CONFIG_DEPTH 8 /* of files that include others */
#define SSH_DEFAULT_USER "root"
#define SSH_DEFAULT_PORT 22
#define PASSWD_BUF	 4096

bool ssh_home(char *buf, size_t size)
{
	char strings[PASSWD_BUF];
	struct passwd pw, *found = NULL;

	if (getpwuid_r(getuid(), &pw, strings, sizeof(strings), &found) != 0 || !found)
		return false;
	return (size_t)snprintf(buf, size, "%s", pw.pw_dir) < size;
}

static int set(struct ssh_link *l, enum ssh_options_e option, const void *value, struct errmsg *why)
{
	const char *text;

	if (ssh_options_set(l->session, option, value) == 0)
		return 0;
	/* Some refusals come without a word, as that of a host name with an underscore. */
	text = ssh_get_error(l->session);
	if (!*text && option == SSH_OPTIONS_HOST)
		text = "libssh does not take this for a host name";
	return errmsg_set(why, -EINVAL, "%s", *text ? text : "libssh refuses an option");
}

/* A line of ssh_config(5) that would run a program while it is parsed. */
static bool runs_something(const char *line)
{
	line += strspn(line, " \t");
	return strncasecmp(line, "match", 5) == 0 && strcasestr(line, "exec");
}

static int refuse_exec(const char *path, unsigned depth, struct errmsg *why);

/* As libssh looks for them; what cannot be read it passes over. */
static int refuse_in_included(const char *pattern, unsigned depth, struct errmsg *why)
{
	glob_t found = {0};
	int r = 0;

	/* Not thread-safe only where $HOME is not set; libssh is about to do the same. */
	if (glob(pattern, GLOB_TILDE, NULL, &found) == 0) { // NOLINT(concurrency-mt-unsafe)
		for (size_t i = 0; r != -EINVAL && i < found.gl_pathc; i++)
			r = refuse_exec(found.gl_pathv[i], depth + 1, why);
	}
	globfree(&found);
	return r == -EINVAL ? r : 0;
}

/* line: may be any; is taken apart. */
static int refuse_include(char *line, unsigned depth, struct errmsg *why)
{
	static const char blanks[] = " \t\r=\"";
	char *save = NULL;
	char *word = strtok_r(line, blanks, &save);
	int r = 0;

	if (!word || strcasecmp(word, "include") != 0)
		return 0;
	if (depth == SSH_CONFIG_DEPTH)
		return errmsg_set(why, -EINVAL, "ssh configuration: Include is nested too deep");
	while (r == 0 && (word = strtok_r(NULL, blanks, &save)))
		r = refuse_in_included(word, depth, why);
	return r;
}

/* libssh would execute "Match exec" lines. */
static int refuse_exec(const char *path, unsigned depth, struct errmsg *why)
{
	CLEANUP_BUF struct buf b;
	char *save = NULL;
	int r;

	buf_init(&b, SSH_CONFIG_MAX);
	r = io_read_file(-1, path, &b);
	if (r < 0)
		return errmsg_set(why, r, "ssh configuration %s: %s", path, strerrordesc_np(-r));
	for (char *line = strtok_r(b.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (runs_something(line))
			return errmsg_set(why, -EINVAL,
					  "ssh configuration %s: \"Match exec\" is refused, since "
					  "nothing is executed here",
					  path);
		r = refuse_include(line, depth, why);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "yes": the files that ssh(1) reads, as far as they exist. */
static int parse_usual(struct ssh_link *l, struct errmsg *why)
{
	static const char global[] = "/etc/ssh/ssh_config";
	char home[512], own[600];
	int r;

	if (!ssh_home(home, sizeof(home)))
		return errmsg_set(why, -ENOENT, "this user has no home directory");
	snprintf(own, sizeof(own), "%s/.ssh/config", home);
	r = refuse_exec(own, 0, why);
	if (r == 0 || r == -ENOENT)
		r = refuse_exec(global, 0, why);
	if (r < 0 && r != -ENOENT)
		return r;
	if (ssh_options_parse_config(l->session, NULL) < 0)
		return errmsg_set(why, -EINVAL, "ssh configuration %s: %s", own,
				  ssh_get_error(l->session));
	return 0;
}

static int parse_named(struct ssh_link *l, const char *path, struct errmsg *why)
{
	int r = refuse_exec(path, 0, why);

	if (r < 0)
		return r;
	if (ssh_options_parse_config(l->session, path) < 0)
		return errmsg_set(why, -EINVAL, "ssh configuration %s: %s", path,
				  ssh_get_error(l->session));
	return 0;
}

void ssh_link_get(const struct ssh_link *l, enum ssh_options_e option, char *dst, size_t size)
{
	char *value = NULL;

	if (ssh_options_get(l->session, option, &value) == SSH_OK && value)
		snprintf(dst, size, "%s", value);
	ssh_string_free_char(value);
}

static int refuse_proxy(struct ssh_link *l, struct errmsg *why)
{
	char proxy[64] = "";

	ssh_link_get(l, SSH_OPTIONS_PROXYCOMMAND, proxy, sizeof(proxy));
	if (!proxy[0] || strcasecmp(proxy, "none") == 0)
		return 0;
	return errmsg_set(why, -EINVAL,
			  "ssh configuration for %s: ProxyCommand and ProxyJump are refused, since "
			  "nothing is executed here; forward a port and name it in the URI",
			  l->uri.host);
}

/* What the configuration says counts where the URI is silent. */
static int read_config(struct ssh_link *l, struct errmsg *why)
{
	char before[SSH_FILE_MAX] = "", after[SSH_FILE_MAX] = "";
	unsigned port = 0;
	int r;

	ssh_link_get(l, SSH_OPTIONS_IDENTITY, before, sizeof(before));
	r = strcmp(l->uri.query.config, "yes") == 0 ? parse_usual(l, why)
						    : parse_named(l, l->uri.query.config, why);
	if (r == 0)
		r = refuse_proxy(l, why);
	if (r < 0)
		return r;
	ssh_link_get(l, SSH_OPTIONS_HOST, l->uri.host, sizeof(l->uri.host));
	if (!l->uri.user[0])
		ssh_link_get(l, SSH_OPTIONS_USER, l->uri.user, sizeof(l->uri.user));
	if (!l->uri.port && ssh_options_get_port(l->session, &port) == 0)
		l->uri.port = (uint16_t)port;
	/* libssh's own default is no wish of the configuration's. */
	ssh_link_get(l, SSH_OPTIONS_IDENTITY, after, sizeof(after));
	l->config_identity = strcmp(before, after) != 0;
	return 0;
}

/* These hold whatever a configuration says: no strange key is accepted, nothing is printed on
 * stderr, and no second layer of compression runs on the guest's bytes. */
static int set_fixed(struct ssh_link *l, struct errmsg *why)
{
	int on = 1, quiet = SSH_LOG_NOLOG;
	int r = set(l, SSH_OPTIONS_STRICTHOSTKEYCHECK, &on, why);

	if (r == 0)
		r = set(l, SSH_OPTIONS_LOG_VERBOSITY, &quiet, why);
	if (r == 0)
		r = set(l, SSH_OPTIONS_COMPRESSION, "no", why);
	if (r == 0)
		r = set(l, SSH_OPTIONS_NODELAY, &on, why);
	return r;
}

static int set_from_uri(struct ssh_link *l, struct errmsg *why)
{
	unsigned port = l->uri.port;
	int r = set(l, SSH_OPTIONS_HOST, l->uri.host, why);

	if (r == 0)
		r = set(l, SSH_OPTIONS_PORT, &port, why);
	if (r == 0)
		r = set(l, SSH_OPTIONS_USER, l->uri.user, why);
	if (r == 0 && l->uri.query.known_hosts[0])
		r = set(l, SSH_OPTIONS_KNOWNHOSTS, l->uri.query.known_hosts, why);
	return r;
}

int ssh_link_configure(struct ssh_link *l, struct errmsg *why)
{
	bool no = false;
	int r = set(l, SSH_OPTIONS_PROCESS_CONFIG, &no, why);

	if (r == 0)
		r = set(l, SSH_OPTIONS_HOST, l->uri.host, why);
	if (r == 0 && l->uri.query.config[0])
		r = read_config(l, why);
	if (r < 0)
		return r;
	if (!l->uri.user[0])
		snprintf(l->uri.user, sizeof(l->uri.user), SSH_DEFAULT_USER);
	if (!l->uri.port)
		l->uri.port = SSH_DEFAULT_PORT;
	ssh_uri_show(&l->uri, l->name, sizeof(l->name));
	r = set_from_uri(l, why);
	return r < 0 ? r : set_fixed(l, why);
}
