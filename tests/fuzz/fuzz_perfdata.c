/* A recording of perf's. The first byte says how it comes: bit 0, a file, else a pipe; the rest,
 * how many bytes at a time (0: all). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/perfdata/recording.h"

struct reading {
	const uint8_t *data;
	size_t size, step;
};

static ssize_t read_some(void *ctx, uint64_t offset, void *to, size_t n)
{
	const struct reading *r = ctx;

	if (offset >= r->size)
		return 0;
	if (n > r->size - offset)
		n = r->size - offset;
	if (r->step && n > r->step)
		n = r->step;
	memcpy(to, r->data + offset, n);
	return (ssize_t)n;
}

/* What has been read has to hang together. */
static void check(const struct recording *r)
{
	uint64_t kernel = 0, user = 0;

	if (r->shown >= r->events.count)
		abort();
	for (size_t i = 0; i < r->guest_count; i++) {
		const struct recording_guest *g = r->guests[i];

		kernel += g->kernel;
		user += g->user;
		if (i > 0 && g->pid <= r->guests[i - 1]->pid)
			abort();
		for (size_t m = 0; m < g->map_count; m++)
			recording_map_at(g, g->maps[m].start);
		for (size_t v = 1; v < g->vcpu_count; v++) {
			if (g->vcpus[v].index <= g->vcpus[v - 1].index)
				abort();
		}
	}
	if (kernel + user + r->left_out != r->guest_kernel + r->guest_user)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct recording_config config = {.path = "made up"};
	struct perfdata_bytes bytes = {.read = read_some};
	struct recording *r = NULL;
	struct reading reading;
	struct errmsg why;

	if (size == 0)
		return 0;
	reading = (struct reading){data + 1, size - 1, data[0] >> 1};
	bytes.ctx = &reading;
	bytes.seekable = data[0] & 1;
	if (recording_read_bytes(&config, &bytes, size - 1, &r, &why) == 0)
		check(r);
	recording_free(r);
	return 0;
}
