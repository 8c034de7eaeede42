/* What is written to control. */
#include <stdint.h>
#include <stdlib.h>

#include "fs/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_list list = {0};
	struct errmsg why;

	if (control_parse((const char *)data, size, &list, &why) == 0 &&
	    list.count > CONTROL_COMMANDS_MAX)
		abort();
	for (size_t i = 0; i < list.count; i++) {
		const char *text = list.arguments[i].text;

		if (text < (const char *)data ||
		    text + list.arguments[i].n > (const char *)data + size)
			abort();
	}
	return 0;
}
