/* What is written to control. */
#include <stdint.h>
#include <stdlib.h>

#include "fs/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_list list;
	struct errmsg why;

	if (control_parse((const char *)data, size, &list, &why) == 0 &&
	    (list.count == 0 || list.count > CONTROL_COMMANDS_MAX))
		abort();
	return 0;
}
