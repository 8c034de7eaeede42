/* ELF notes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/notes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char hex[BUILD_ID_HEX_SIZE];
	struct build_id id = {0};
	int r = notes_build_id(data, size, &id);

	if (notes_first_len(data, size) > size)
		abort();
	if ((r == 0) != (id.len > 0) || id.len > BUILD_ID_MAX)
		abort();
	build_id_to_hex(&id, hex);
	if (strlen(hex) != BUILD_ID_HEX_SIZE - 1)
		abort();
	return 0;
}
