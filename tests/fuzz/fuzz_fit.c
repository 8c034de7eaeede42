/* A saved kallsyms that is held against what is known of the guest's kernel. What fits comes
 * through as it is; what is moved gets no longer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/source_fit.h"
#include "symsrc/source_impl.h"

#define MAX (1 << 16)
#define AT  UINT64_C(0xffffffff9a000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int begin(void *ctx, enum guest_file file, const char *module)
{
	(void)ctx;
	(void)file;
	(void)module;
	return 0;
}

static int take(void *ctx, const void *bytes, size_t n)
{
	return buf_append(ctx, bytes, n);
}

/* How far it was moved. */
static uint64_t fit(const void *bytes, size_t n, struct buf *out)
{
	const struct guest_kernel known = {.symbol = "_text", .symbol_at = AT};
	const struct source_sink to = {begin, take, out};
	struct source s = {0};
	struct errmsg why = {0};
	struct source_fit f;
	struct source_sink sink;
	int r;

	source_fit_init(&f, &known, "fuzzed", &to, &why);
	sink = source_fit_sink(&f);
	r = sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL);
	if (r == 0)
		r = sink.data(sink.ctx, bytes, n);
	if (r == 0)
		r = source_fit_end(&f, &s);
	if (r < 0 && !why.code)
		abort();
	source_fit_deinit(&f);
	return f.moved_by;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out;
	uint64_t moved_by;

	if (size > MAX)
		return 0;
	buf_init(&out, MAX);
	moved_by = fit(data, size, &out);
	if (out.len > size || out.err ||
	    (!moved_by && (out.len != size || memcmp(out.data, data, size) != 0)))
		abort();
	buf_deinit(&out);
	return 0;
}
