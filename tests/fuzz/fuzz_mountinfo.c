/* /proc/self/mountinfo: its paths are anybody's. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mountpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	char type[8];

	if (!text)
		return 0;
	if (mountinfo_type_at(text, "/mnt/k m", type, sizeof(type)) == 0 &&
	    memchr(type, '\0', sizeof(type)) == NULL)
		abort();
	free(text);
	return 0;
}
