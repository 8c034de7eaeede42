/* What a VMM's monitor says to "info registers -a". */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "profiler/registers.h"

static int seen;

static void take(void *ctx, const struct registers *r)
{
	(void)ctx;
	seen++;
	if (r->cpu >= REGISTERS_CPUS_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int r;

	seen = 0;
	r = registers_parse((const char *)data, size, take, NULL);
	if (seen > REGISTERS_CPUS_MAX || (r >= 0 && r != seen))
		abort();
	return 0;
}
