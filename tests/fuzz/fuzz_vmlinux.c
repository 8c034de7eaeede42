/* A kernel's ELF file: what comes out of it is kallsyms, or it is refused in a line. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/symbols.h"
#include "symsrc/vmlinux.h"

static void make(const struct vmlinux *v, uint64_t slide)
{
	struct symbols_builder *b = symbols_builder_create();
	const struct source_sink sink = symbols_builder_sink(b);
	const struct symbols *s = NULL;
	struct errmsg why = {0};
	int r = sink.begin(sink.ctx, GUEST_FILE_KALLSYMS, NULL);

	if (r == 0)
		r = vmlinux_put_kallsyms(v, slide, &sink, &why);
	/* Each line must be one: the parser takes it, or nothing was put. */
	if (r < 0 && r != -EINVAL)
		abort();
	if (r == 0)
		r = vmlinux_deliver(v, GUEST_FILES_ALL, &sink, &why);
	if (r == 0)
		r = symbols_builder_finish(b, &s, &why);
	if (r == -EBADMSG)
		abort();
	symbols_put(s);
	symbols_builder_destroy(b);
}

/* Its code: a place is found, or not. */
static void find(struct vmlinux *v)
{
	struct slide_code code;
	struct slide_guess guess;
	struct errmsg why = {0};
	uint64_t ips[32];

	if (vmlinux_code(v, &code, &why) < 0) {
		if (!why.text[0])
			abort();
		return;
	}
	for (size_t i = 0; i < 32; i++)
		ips[i] = code.sections[i % code.section_count].va + i * 61;
	slide_find(&code, ips, 32, &guess);
	if (guess.hits > guess.used || guess.used > 32)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct errmsg why = {0};
	struct vmlinux v;

	if (vmlinux_from_bytes(bytes, size, "fuzzed", &v, &why) < 0) {
		if (!why.text[0] || strchr(why.text, '\n'))
			abort();
		return 0;
	}
	make(&v, 0);
	make(&v, 0x1e000000);
	find(&v);
	vmlinux_close(&v);
	return 0;
}
