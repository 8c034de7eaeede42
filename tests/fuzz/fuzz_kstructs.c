/* BTF, and what is made of it. */
#include <stdint.h>
#include <stdlib.h>

#include "symsrc/memory/kstructs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_member(uint32_t offset, uint32_t bytes, uint32_t size)
{
	if (offset != KSTRUCT_NONE && (offset > size || bytes > size - offset))
		abort();
}

static void check(const struct kstructs *s)
{
	if (s->module_size > KSTRUCT_SIZE_MAX || s->mod_kallsyms_size > KSTRUCT_SIZE_MAX)
		abort();
	if (s->module_name == KSTRUCT_NONE || s->module_name_size == KSTRUCT_NONE)
		abort();
	check_member(s->module_list, 16, s->module_size);
	check_member(s->module_name, s->module_name_size, s->module_size);
	check_member(s->module_refcnt, 4, s->module_size);
	check_member(s->mod_kallsyms_strtab, 8, s->mod_kallsyms_size);
	if (s->module_mem == KSTRUCT_NONE) {
		check_member(s->module_core_base, 8, s->module_size);
		return;
	}
	check_member(s->module_mem, 0, s->module_size);
	if ((uint64_t)s->module_mem_count * s->module_mem_stride > s->module_size - s->module_mem)
		abort();
	check_member(s->mem_base, 8, s->module_mem_stride);
	check_member(s->mem_size, 4, s->module_mem_stride);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kstructs s;
	struct errmsg why = {0};
	int r = kstructs_from_btf(data, size, &s, &why);

	if (r != why.code)
		abort();
	if (r == 0)
		check(&s);
	return 0;
}
