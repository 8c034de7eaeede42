/* An answer to query-stats. */
#include <json-c/json.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/qmpstats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kvmstats stats;
	char *text = strndup((const char *)data, size);
	struct json_object *value;

	if (!text)
		abort();
	value = json_tokener_parse(text);
	stats.count = 0;
	if (qmpstats_parse(value, &stats) == 0 && stats.count > KVMSTATS_MAX)
		abort();
	for (size_t i = 1; i < stats.count; i++) {
		if (strcmp(stats.list[i - 1].name, stats.list[i].name) >= 0)
			abort();
	}
	json_object_put(value);
	free(text);
	return 0;
}
