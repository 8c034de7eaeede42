/* Finding a kernel in RAM that somebody made up: 832 KiB, of which the input fills some pages and
 * links tables together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/memory/findkernel.h"
#include "tests/unit/lib/fakeram.h"

#define SIZE	 0xd0000u
#define PAGES	 (SIZE / RAM_PAGE)
#define PIECES	 32 /* of the input */
#define READ_MAX ((uint64_t)160 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each piece: 0, 1: which page; 2: how far into it; 3: length, or 255: an entry, whose table is
 * the page that follows. */
static void fill(struct fakeram *f, const uint8_t *p, const uint8_t *end)
{
	for (unsigned i = 0; i < PIECES && end - p >= 6; i++) {
		uint64_t page = (uint64_t)(p[0] | p[1] << 8) % (PAGES - 1) * RAM_PAGE;
		uint64_t to = (uint64_t)(p[4] | p[5] << 8) % PAGES * RAM_PAGE;
		size_t at = (size_t)p[2] * 16, len = p[3];

		if (len == 255) {
			/* The last entries are what leads to kernels. */
			fakeram_put_u64(f, page + RAM_PAGE - 8 * (at / 16 % 4 + 1), to | 3);
			p += 6;
			continue;
		}
		p += 4;
		len = len < (size_t)(end - p) ? len : (size_t)(end - p);
		fakeram_put(f, page + at, p, len);
		p += len;
	}
}

static void check(const struct kernel_candidate *list, int n, int max)
{
	if (n < 0 || n > max)
		abort();
	for (int i = 0; i < n; i++) {
		const struct kernel_image *image = &list[i].image;

		if (list[i].way != KERNEL_BY_SIGNATURE &&
		    (image->va < IMAGE_VA_START || image->size > IMAGE_SIZE_MAX ||
		     image->size < IMAGE_SIZE_MIN))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kernel_candidate list[8];
	struct ram_sights sights;
	struct errmsg why = {0};
	struct fakeram f;

	fakeram_init(&f, SIZE);
	fill(&f, data, data + size);
	check(list, find_by_trampoline(&f.ram, list, 8), 8);
	check(list, find_by_scan(&f.ram, UINT64_MAX, list, 8, &sights), 8);
	if (explain_sights(&sights, &why) >= 0 || !why.text[0])
		abort();
	if (RAM_BUDGET - f.ram.budget > READ_MAX)
		abort();
	fakeram_deinit(&f);
	return 0;
}
