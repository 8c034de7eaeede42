/* The text of a configuration file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fs/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	struct errmsg why = {0};
	struct options o;

	if (!text)
		return 0;
	options_init(&o);
	if (options_parse_config(&o, "f", text, &why) < 0 && strncmp(why.text, "f:", 2) != 0)
		abort();
	options_deinit(&o);
	free(text);
	return 0;
}
