#include "symsrc/filemark.h"

#include <string.h>

#include "symsrc/base/text.h"
#include "symsrc/modules.h"

#define FNV_BASIS 14695981039346656037ULL
#define FNV_PRIME 1099511628211ULL

struct filemark {
	char boot_id[FILEMARK_BOOT_ID_MAX];
	bool has_modules;
	uint64_t sum;
};

_Static_assert(sizeof(struct filemark) <= SOURCE_MARK_MAX, "a mark is too large");

void filemark_boot_id(const char *text, size_t n, char ret[static FILEMARK_BOOT_ID_MAX])
{
	const char *end = memchr(text, '\n', n);
	size_t len = end ? (size_t)(end - text) : n;

	memset(ret, 0, FILEMARK_BOOT_ID_MAX);
	if (len < FILEMARK_BOOT_ID_MAX && text_is_word(text, len))
		memcpy(ret, text, len);
}

static uint64_t add_bytes(uint64_t sum, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ ((const uint8_t *)bytes)[i]) * FNV_PRIME;
	return sum;
}

static int add_module(void *ctx, const struct module_line *m)
{
	uint64_t *sum = ctx;

	*sum = add_bytes(*sum, m->name, strlen(m->name) + 1);
	*sum = add_bytes(*sum, &m->base, sizeof(m->base));
	*sum = add_bytes(*sum, &m->size, sizeof(m->size));
	return 0;
}

int filemark_make(const char *boot_id, const char *modules, size_t n, struct source_mark *ret,
		  struct errmsg *why)
{
	struct filemark m = {.has_modules = modules != NULL};
	uint64_t sum = FNV_BASIS;
	int r = modules ? modules_parse(modules, n, add_module, &sum, why) : 0;

	if (r < 0)
		return r;
	filemark_boot_id(boot_id, strlen(boot_id), m.boot_id);
	m.sum = sum;
	ret->len = sizeof(m);
	memcpy(ret->bytes, &m, sizeof(m));
	return 0;
}

static bool is_same(const struct filemark *a, const struct filemark *b)
{
	return strcmp(a->boot_id, b->boot_id) == 0 && a->has_modules == b->has_modules &&
	       a->sum == b->sum;
}

enum source_news filemark_compare(const struct source_mark *had, const struct source_mark *now)
{
	struct filemark a, b;

	if (had->len != sizeof(a) || now->len != sizeof(b))
		return SOURCE_CHANGED;
	memcpy(&a, had->bytes, sizeof(a));
	memcpy(&b, now->bytes, sizeof(b));
	if (a.boot_id[0] && b.boot_id[0] && strcmp(a.boot_id, b.boot_id) != 0)
		return SOURCE_REBOOTED;
	return is_same(&a, &b) ? SOURCE_SAME : SOURCE_CHANGED;
}
