/* Text of /proc/modules. What is taken must be a name that is safe as a path component, and a
 * text is the same as itself. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/text.h"
#include "symsrc/modules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *ctx, const struct module_line *m)
{
	size_t *count = ctx;

	if (!text_is_component(m->name) || !module_name_is_valid(m->name, strlen(m->name)))
		abort();
	return ++*count > 100 ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct errmsg why;
	size_t count = 0;
	int r = modules_parse(text, size, check, &count, &why);

	if (r == 0 && !modules_same(text, size, text, size))
		abort();
	for (size_t half = 0; half < size; half += 1 + size / 8)
		modules_same(text, half, text + half, size - half);
	return 0;
}
