/* Source URIs from the command line and the configuration file, and host names from VMs' names:
 * whatever is accepted can be shown and parsed again, and holds nothing that a shell, a
 * resolver or a terminal could misunderstand. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/source.h"
#include "symsrc/ssh_uri.h"

static void check_host(const char *host)
{
	if (host[0] == '-' || strpbrk(host, " \t\r\n'\"`$;&|<>()\\/@?#*"))
		abort();
}

static void check_ssh(const char *uri)
{
	struct ssh_uri u, again;
	char shown[SSH_SHOW_MAX];

	if (ssh_uri_parse(uri, &u, NULL) < 0)
		return;
	check_host(u.host);
	if (u.user[0] == '-')
		abort();
	ssh_uri_show(&u, shown, sizeof(shown));
	if (strlen(shown) == sizeof(shown) - 1)
		return; /* cut */
	if (ssh_uri_parse(shown, &again, NULL) < 0 || strcmp(u.host, again.host) != 0 ||
	    strcmp(u.user, again.user) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *uri = strndup((const char *)bytes, size);
	struct source_target target = {0};
	struct errmsg why = {0};
	struct source *s;

	memcpy(target.name, bytes, size < sizeof(target.name) - 1 ? size : sizeof(target.name) - 1);
	if (source_create(uri, &target, &s, &why) == 0)
		source_destroy(s);
	else if (!why.text[0])
		abort();
	check_ssh(uri);
	if (ssh_host_is_valid(uri))
		check_host(uri);
	free(uri);
	return 0;
}
