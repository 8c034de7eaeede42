#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "symsrc/ssh_link_impl.h"

#define FINGERPRINT_MAX 96
#define HOST_SHOWN_MAX	(SSH_HOST_MAX + 16)
#define KEY_SHOWN_MAX	100 /* of a key in base64: ed25519 has 68, RSA 372 and more */
#define LINE_SHOWN_MAX	(KEY_SHOWN_MAX + 64)

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

/* As known_hosts files have it. */
static void show_host(const struct ssh_link *l, char *buf, size_t size)
{
	if (l->uri.port == 22)
		snprintf(buf, size, "%s", l->uri.host);
	else
		snprintf(buf, size, "[%s]:%u", l->uri.host, l->uri.port);
}

/* The line that a known_hosts file needs behind the host; empty when it would fill the message. */
static void show_line(struct ssh_link *l, char *buf, size_t size)
{
	ssh_key key = NULL;
	char *text = NULL;

	buf[0] = '\0';
	if (ssh_get_server_publickey(l->session, &key) != SSH_OK)
		return;
	if (ssh_pki_export_pubkey_base64(key, &text) == SSH_OK && strlen(text) < KEY_SHOWN_MAX)
		snprintf(buf, size, "%s %s", ssh_key_type_to_char(ssh_key_type(key)), text);
	ssh_string_free_char(text);
	ssh_key_free(key);
}

/* No ssh-keyscan gets there, and not every host has an ssh that does. */
static int unknown_by_vsock(struct ssh_link *l, const char *key, const char *file,
			    struct errmsg *why)
{
	char host[HOST_SHOWN_MAX], line[LINE_SHOWN_MAX];

	show_host(l, host, sizeof(host));
	show_line(l, line, sizeof(line));
	if (line[0])
		return errmsg_set(why, -EKEYREJECTED,
				  "unknown host key %s; if that is the guest's, accept it by: "
				  "echo '%s %s' >>%s",
				  key, host, line, file);
	return errmsg_set(why, -EKEYREJECTED,
			  "unknown host key %s; if that is the guest's, accept it by: "
			  "ssh -oProxyCommand='socat - VSOCK-CONNECT:%u:%u' -p%u "
			  "-oUserKnownHostsFile=%s %s",
			  key, l->uri.cid, l->uri.port, l->uri.port, file, l->uri.host);
}

/* As ssh-keyscan's -t wants it; NULL: it finds out. */
static const char *type_to_scan(struct ssh_link *l)
{
	enum ssh_keytypes_e type;
	ssh_key key = NULL;

	if (ssh_get_server_publickey(l->session, &key) != SSH_OK)
		return NULL;
	type = ssh_key_type(key);
	ssh_key_free(key);
	switch (type) {
	case SSH_KEYTYPE_ED25519: return "ed25519";
	case SSH_KEYTYPE_RSA: return "rsa";
	case SSH_KEYTYPE_ECDSA_P256:
	case SSH_KEYTYPE_ECDSA_P384:
	case SSH_KEYTYPE_ECDSA_P521: return "ecdsa";
	default: return NULL;
	}
}

/* "mkdir -p ~/.ssh && " where the file's directory is missing. */
static void show_mkdir(const char *file, char *buf, size_t size)
{
	const char *slash = strrchr(file, '/');
	char dir[SSH_FILE_MAX];

	buf[0] = '\0';
	if (!slash || slash == file)
		return;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - file), file);
	if (access(dir, F_OK) < 0 && errno == ENOENT)
		snprintf(buf, size, "mkdir -p %s && ", dir);
}

static int unknown(struct ssh_link *l, const char *key, const char *file, struct errmsg *why)
{
	char port[16] = "", make[SSH_FILE_MAX + 32];
	const char *type = type_to_scan(l);

	if (l->uri.cid)
		return unknown_by_vsock(l, key, file, why);
	if (l->uri.port != 22)
		snprintf(port, sizeof(port), "-p %u ", l->uri.port);
	show_mkdir(file, make, sizeof(make));
	return errmsg_set(why, -EKEYREJECTED,
			  "unknown host key %s; if that is the guest's, accept it by: "
			  "%sssh-keyscan %s%s%s%s%s >> %s",
			  key, make, type ? "-t " : "", type ? type : "", type ? " " : "", port,
			  l->uri.host, file);
}

static int changed(const struct ssh_link *l, const char *key, const char *file, struct errmsg *why)
{
	char host[HOST_SHOWN_MAX];

	show_host(l, host, sizeof(host));
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
