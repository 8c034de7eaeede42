/* What a VMM answers to `info mtree -f` and gpa2hva. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/vmmblocks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_ram_block blocks[GUEST_RAM_BLOCKS_MAX];
	static const struct vmm_range devices[] = {{(uint64_t)5 << 30, 1 << 30},
						   {(uint64_t)8 << 30, UINT64_MAX}};
	uint64_t base;
	uint64_t end = 0;
	char *text;
	size_t n;

	if (size < sizeof(base))
		return 0;
	memcpy(&base, data, sizeof(base));
	size -= sizeof(base);
	text = malloc(size + 1);
	memcpy(text, data + sizeof(base), size);
	text[size] = '\0';
	n = vmmblocks_parse(text, base, devices, 2, blocks);
	if (n > GUEST_RAM_BLOCKS_MAX)
		abort();
	for (size_t i = 0; i < n; i++) {
		if (blocks[i].len == 0 || blocks[i].gpa < end || blocks[i].hva)
			abort();
		end = blocks[i].gpa + blocks[i].len;
	}
	if (vmmblocks_parse_hva(text, &end) && end == 0)
		abort();
	free(text);
	return 0;
}
