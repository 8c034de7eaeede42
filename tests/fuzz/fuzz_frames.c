/* What a guest sends over ssh: login noise, greeting, gzip, frames. The first byte chooses the
 * size of the chunks. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/wire.h"

#define BOUNDARY "0123456789abcdef0123456789abcdef"

/* What a sink may rely on. */
struct order {
	int begun;
	size_t len;
	enum guest_file file;
};

static int begin(void *ctx, enum guest_file file, const char *module)
{
	struct order *o = ctx;

	if ((file == GUEST_FILE_MODULE_NOTE) != (module != NULL) || file >= GUEST_FILE_COUNT)
		abort();
	*o = (struct order){.begun = 1, .file = file};
	return 0;
}

static int data(void *ctx, const void *bytes, size_t n)
{
	struct order *o = ctx;
	volatile char sum = 0;

	if (!o->begun || n == 0)
		abort();
	for (size_t i = 0; i < n; i++)
		sum = (char)(sum + ((const char *)bytes)[i]);
	o->len += n;
	if (o->len > guest_file_max(o->file))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct order order = {0};
	const struct source_sink sink = {begin, data, &order};
	struct errmsg why = {0};
	size_t chunk, n;
	struct wire w;
	int r = 0;

	if (size == 0)
		return 0;
	chunk = (size_t)bytes[0] + 1;
	wire_init(&w, BOUNDARY, &sink);
	for (size_t at = 1; r == 0 && at < size; at += n) {
		n = size - at < chunk ? size - at : chunk;
		r = wire_feed(&w, bytes + at, n, &why);
	}
	if (r == 0)
		r = wire_finish(&w, &why);
	if (r < 0 && why.code != r)
		abort();
	wire_deinit(&w);
	return 0;
}
