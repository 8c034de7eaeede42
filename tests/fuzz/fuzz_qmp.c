/* What a QMP peer says, in pieces: the first byte is the length of a piece. */
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <json-c/json.h>

#include "symsrc/qmp.h"

static unsigned replies;

static void on_event(void *ctx, const char *event, struct json_object *data)
{
	(void)ctx;
	if (!event[0] && data)
		json_object_to_json_string(data);
}

static void on_reply(void *ctx, const struct qmp_reply *reply)
{
	replies++;
	if ((reply->code == 0) != (reply->value != NULL))
		abort();
	if (replies < 8 && qmp_error(ctx)->code == 0)
		qmp_execute_hmp(ctx, "info registers -a", on_reply, ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size > 0 ? data[0] + 1u : 1;
	size_t asked = 0;
	struct qmp *q;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		abort();
	if (qmp_attach(fds[0], on_event, NULL, &q, NULL) < 0)
		abort();
	replies = 0;
	while (qmp_execute(q, "query-name", NULL, on_reply, q) == 0)
		asked++;
	for (size_t at = 1; at < size && qmp_error(q)->code == 0; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		if (write(fds[1], data + at, n) != (ssize_t)n)
			abort();
		qmp_process(q);
	}
	close(fds[1]);
	qmp_process(q);
	while (qmp_process(q) == 0)
		continue;
	if (replies < asked || qmp_pending(q) != 0)
		abort();
	qmp_destroy(q);
	return 0;
}
