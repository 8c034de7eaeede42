/* The text of /proc/PID/maps, and what is known of the guest: a VMM may map what it likes, and say
 * over QMP what it likes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/vmmmaps.h"

/* Fuzzed beside the text: fixed, so that the fuzzer can find sums that fit. */
struct header {
	uint8_t vmm;
	uint8_t machine;
	uint8_t parts;
	uint8_t blocks;
	uint64_t base_bytes;
	uint64_t below_4g_max;
	uint64_t part_bytes[4];
	struct guest_ram_block told[4];
};

static void fill(struct guest *g, const struct header *h)
{
	static const char *const vmms[] = {"qemu-system-x86_64", "firecracker", "lkvm"};

	strcpy(g->vmm, vmms[h->vmm % 3]);
	g->ram.machine = (enum guest_machine)(h->machine % 4);
	g->ram.base_bytes = h->base_bytes;
	g->ram.below_4g_max = h->below_4g_max;
	g->ram.part_count = h->parts % 5;
	g->ram.block_count = h->blocks % 5;
	for (unsigned i = 0; i < 4; i++) {
		g->ram.parts[i] = (struct guest_ram_part){h->part_bytes[i], 3 - i};
		g->ram.blocks[i] = h->told[i];
	}
}

/* Within its block, ascending, and apart from each other. */
static void check_layout(const struct ram_plan *p, const struct ram_layout *l)
{
	uint64_t end = 0;

	if (l->count == 0 || l->count > 2 * VMMRAM_BLOCKS_MAX)
		abort();
	for (size_t i = 0; i < l->count; i++) {
		const struct ram_segment *s = &l->segments[i];

		if (s->block >= p->block_count || s->len == 0 || s->gpa < end)
			abort();
		if (s->at > p->blocks[s->block].len || s->len > p->blocks[s->block].len - s->at)
			abort();
		end = s->gpa + s->len;
		if (end < s->gpa)
			abort();
	}
}

static void check(const struct ram_plan *p)
{
	if (p->block_count == 0 || p->block_count > VMMRAM_BLOCKS_MAX || p->layout_count == 0 ||
	    p->layout_count > VMMRAM_LAYOUTS_MAX || !ram_plan_equals(p, p))
		abort();
	for (size_t i = 0; i < p->block_count; i++) {
		const struct ram_block *b = &p->blocks[i];

		if (b->len == 0 || b->hva + b->len < b->hva || b->hva < b->map_start ||
		    b->hva >= b->map_end)
			abort();
	}
	for (size_t i = 0; i < p->layout_count; i++)
		check_layout(p, &p->layouts[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ram_plan plan;
	struct guest *g = guest_create();
	struct header h;
	char *text;

	if (!g || size < sizeof(h)) {
		guest_put(g);
		return 0;
	}
	memcpy(&h, data, sizeof(h));
	fill(g, &h);
	size -= sizeof(h);
	text = malloc(size + 1);
	memcpy(text, data + sizeof(h), size);
	text[size] = '\0';
	if (vmmmaps_choose(text, size, g, &plan) == 0)
		check(&plan);
	free(text);
	guest_put(g);
	return 0;
}
