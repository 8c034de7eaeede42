/* VMCOREINFO. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/text.h"
#include "symsrc/memory/vmcoreinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmcoreinfo info;

	if (vmcoreinfo_parse((const char *)data, size, &info) < 0)
		return 0;
	if (!info.stext || info.build_id.len > BUILD_ID_MAX)
		abort();
	for (size_t i = 0; i < strlen(info.release); i++) {
		if (info.release[i] < ' ' || info.release[i] > '~')
			abort();
	}
	return 0;
}
