/* A command line: the first byte says whether it is QEMU's. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/vmmargs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const exes[] = {"/usr/bin/qemu-system-x86_64", "/usr/bin/firecracker",
					   NULL};
	struct vmm_args a;

	if (size == 0)
		return 0;
	if (vmmargs_parse(exes[data[0] % 3], (const char *)data + 1, size - 1, &a) < 0)
		return 0;
	if (a.qmp_count > VMM_QMP_MAX || !a.name[0] || strlen(a.name) >= sizeof(a.name))
		abort();
	if ((a.ssh_port != 0) != (a.ssh_host[0] != '\0'))
		abort();
	return 0;
}
