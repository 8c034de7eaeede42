#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "symsrc/ssh_link_impl.h"

#define FINGERPRINT_MAX 96

/* "ssh-ed25519 SHA256:..." of the key that the server has shown. */
static void show_key(struct ssh_link *l, char *buf, size_t size)
{
	ssh_key key = NULL;
	unsigned char *hash = NULL;
	size_t hash_len = 0;
	char *text = NULL;

	snprintf(buf, size, "(no key)");
	if (ssh_get_server_publickey(l->session, &key) != SSH_OK)
		return;
	if (ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &hash_len) == 0)
		text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, hash_len);
	snprintf(buf, size, "%s %s", ssh_key_type_to_char(ssh_key_type(key)),
		 text ? text : "(no fingerprint)");
	ssh_string_free_char(text);
	ssh_clean_pubkey_hash(&hash);
	ssh_key_free(key);
}

static int unknown(struct ssh_link *l, const char *key, const char *file, struct errmsg *why)
{
	char port[16] = "";

	if (l->uri.port != 22)
		snprintf(port, sizeof(port), "-p %u ", l->uri.port);
	return errmsg_set(why, -EKEYREJECTED,
			  "unknown host key %s; if that is the guest's, accept it by: "
			  "ssh-keyscan %s%s >> %s",
			  key, port, l->uri.host, file);
}

static int changed(struct ssh_link *l, const char *key, const char *file, struct errmsg *why)
{
	char host[SSH_HOST_MAX + 16];

	snprintf(host, sizeof(host), "%s", l->uri.host);
	if (l->uri.port != 22)
		snprintf(host, sizeof(host), "[%s]:%u", l->uri.host, l->uri.port);
	return errmsg_set(why, -EKEYREJECTED,
			  "the host key has changed, to %s; if that is right, forget the old one "
			  "by: ssh-keygen -R '%s' -f %s",
			  key, host, file);
}

int ssh_link_check_host(struct ssh_link *l, struct errmsg *why)
{
	char key[FINGERPRINT_MAX], file[SSH_FILE_MAX] = "~/.ssh/known_hosts";
	enum ssh_known_hosts_e found = ssh_session_is_known_server(l->session);

	if (found == SSH_KNOWN_HOSTS_OK)
		return 0;
	show_key(l, key, sizeof(key));
	ssh_link_get(l, SSH_OPTIONS_KNOWNHOSTS, file, sizeof(file));
	switch (found) {
	case SSH_KNOWN_HOSTS_UNKNOWN:
	case SSH_KNOWN_HOSTS_NOT_FOUND: return unknown(l, key, file, why);
	case SSH_KNOWN_HOSTS_CHANGED:
	case SSH_KNOWN_HOSTS_OTHER: return changed(l, key, file, why);
	default:
		return errmsg_set(why, -EKEYREJECTED, "the host key cannot be checked: %s",
				  ssh_get_error(l->session));
	}
}
