/* What a VMM answers when discovery asks it over QMP (vmmquery.c, vmmports.c): a line of input for
 * each command, in their order: '!' is a refusal, '*' what begins with it is a message of its own,
 * else it is the value. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "symsrc/vmmquery.h"

#define ROUNDS_MAX 200

/* The VMM's end. */
struct vmm {
	int fd;
	const char *next, *end; /* what is left of the input */
	char heard[65536];	/* what has no answer yet */
	size_t len;
};

static char socket_path[64];

/* Listens at a path, as a VMM does. */
static int listen_somewhere(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(socket_path, sizeof(socket_path), "/tmp/fuzz_vmmquery.%d", (int)getpid());
	unlink(socket_path);
	strcpy(a.sun_path, socket_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		abort();
	return fd;
}

static void remove_socket(void)
{
	unlink(socket_path);
}

static void say(const struct vmm *v, const char *text, size_t n)
{
	/* Longer than the socket's buffer, or hung up: so it is cut. */
	if (send(v->fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

static void say_text(const struct vmm *v, const char *text)
{
	say(v, text, strlen(text));
}

/* The line, and whether there is one. */
static const char *take_line(struct vmm *v, size_t *ret_n)
{
	const char *line = v->next;
	const char *lf = line < v->end ? memchr(line, '\n', (size_t)(v->end - line)) : NULL;

	*ret_n = (size_t)((lf ? lf : v->end) - line);
	v->next = lf ? lf + 1 : v->end;
	return line;
}

static void answer(struct vmm *v, unsigned long id)
{
	char tail[32];
	size_t n = 0;
	const char *line = id ? take_line(v, &n) : "{}";

	while (id && n && line[0] == '*') {
		say(v, line + 1, n - 1);
		line = take_line(v, &n);
	}
	if (!id)
		n = 2;
	snprintf(tail, sizeof(tail), ", \"id\": %lu}\r\n", id);
	if (n == 0 || line[0] == '!') {
		say_text(v, "{\"error\": {\"desc\": \"no\"}");
	} else {
		say_text(v, "{\"return\": ");
		say(v, line, n);
	}
	say_text(v, tail);
}

/* Commands end in CR LF; their last member is the id. */
static void hear(struct vmm *v)
{
	ssize_t n = recv(v->fd, v->heard + v->len, sizeof(v->heard) - v->len - 1, MSG_DONTWAIT);
	char *lf;

	if (n <= 0)
		return;
	v->len += (size_t)n;
	v->heard[v->len] = '\0';
	while ((lf = strchr(v->heard, '\n'))) {
		const char *id;

		*lf = '\0';
		id = strstr(v->heard, "\"id\":");
		if (!id)
			abort();
		answer(v, strtoul(id + 5, NULL, 10));
		v->len -= (size_t)(lf + 1 - v->heard);
		memmove(v->heard, lf + 1, v->len + 1);
	}
}

static void check_text(const char *text, size_t size)
{
	if (!memchr(text, '\0', size))
		abort();
}

static void check(const struct vmm_answers *a)
{
	check_text(a->name, sizeof(a->name));
	check_text(a->uuid, sizeof(a->uuid));
	check_text(a->state, sizeof(a->state));
	check_text(a->agent.path, sizeof(a->agent.path));
	check_text(a->port.path, sizeof(a->port.path));
	if (a->vcpu_count > GUEST_VCPUS_MAX || a->block_count > GUEST_RAM_BLOCKS_MAX)
		abort();
	for (size_t i = 0; i < a->vcpu_count; i++) {
		if (a->vcpus[i].tid <= 0 || (i && a->vcpus[i].index < a->vcpus[i - 1].index))
			abort();
	}
	for (size_t i = 0; i < a->block_count; i++) {
		if (!a->blocks[i].hva || !a->blocks[i].len)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int listener = -1;
	static struct vmm v;
	struct vmm_query *q = NULL;
	struct vmm_answers a;
	int r = 0;

	if (listener < 0) {
		listener = listen_somewhere();
		atexit(remove_socket);
	}
	if (vmm_query_start(socket_path, &(const struct vmm_wanted){.ports = true}, &q, NULL) < 0)
		abort();
	v = (struct vmm){.fd = accept(listener, NULL, NULL),
			 .next = (const char *)data,
			 .end = (const char *)data + size};
	say_text(&v, "{\"QMP\": {}}\r\n");
	for (unsigned i = 0; r == 0 && i < ROUNDS_MAX; i++) {
		r = vmm_query_process(q);
		hear(&v);
	}
	a = vmm_query_take(q);
	check(&a);
	vmm_answers_deinit(&a);
	vmm_query_destroy(q);
	close(v.fd);
	return 0;
}
