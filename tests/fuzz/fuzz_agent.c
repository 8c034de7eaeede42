/* What answers behind a guest's serial port, as it arrives: first the search for who it is, then an
 * answer of qemu-guest-agent. The first byte chooses the size of the pieces. */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>

#include "symsrc/agent_answer.h"
#include "symsrc/serial_probe.h"

#define ID 0x01020305

static int data(void *ctx, enum agent_data which, const void *bytes, size_t n)
{
	size_t *total = ctx;
	volatile char sum = 0;

	if (n == 0 || (which != AGENT_DATA_OUT && which != AGENT_DATA_ERR))
		abort();
	for (size_t i = 0; i < n; i++)
		sum = (char)(sum + ((const char *)bytes)[i]);
	*total += n;
	return 0;
}

static size_t probe(const uint8_t *bytes, size_t size, size_t chunk)
{
	struct serial_probe p;
	size_t at = 0;

	serial_probe_init(&p, ID);
	while (at < size && p.who == SERIAL_NOBODY) {
		size_t n = size - at < chunk ? size - at : chunk;
		ptrdiff_t took = serial_probe_feed(&p, bytes + at, n, NULL);

		if (took <= 0 || (size_t)took > n)
			abort();
		at += (size_t)took;
	}
	return p.who == SERIAL_AGENT ? at : 0;
}

static void answer(const uint8_t *bytes, size_t size, size_t chunk)
{
	struct json_object *value;
	struct agent_answer a;
	struct errmsg why = {0};
	size_t total = 0, at = 0;
	ptrdiff_t took = 0;
	int r = 0;

	agent_answer_init(&a, data, &total);
	while (at < size && !a.done && took >= 0) {
		size_t n = size - at < chunk ? size - at : chunk;

		took = agent_answer_feed(&a, (const char *)bytes + at, n, &why);
		at += took > 0 ? (size_t)took : 0;
	}
	if (took >= 0 && a.done)
		r = agent_answer_result(&a, &value, &why);
	if (took >= 0 && a.done && r == 0)
		json_object_put(value);
	if ((took < 0 && why.code != took) || (r < 0 && why.code != r))
		abort();
	if (a.text.len > AGENT_TEXT_MAX || total > size)
		abort();
	agent_answer_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	size_t chunk, at;

	if (size == 0)
		return 0;
	chunk = (size_t)bytes[0] + 1;
	at = probe(bytes + 1, size - 1, chunk);
	answer(bytes + 1 + at, size - 1 - at, chunk);
	return 0;
}
