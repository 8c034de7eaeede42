/* top: all guests at once, the hottest symbols first. */
#include "fs/render.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "symsrc/base/cleanup.h"

struct top_row {
	uint64_t samples;
	uint64_t weight;
	char type;
	const char *symbol;
	const char *object;
	const struct guest *guest;
};

/* The rows of a guest are sorted, so that none behind the first RENDER_TOP_ROWS named ones can get
 * into the result; those without a name become one row, which shows no address. */
static size_t collect(const struct render_profile *from, struct top_row *to)
{
	struct top_row unnamed = {.type = 'g',
				  .symbol = PROFILE_OBJECT_UNKNOWN,
				  .object = PROFILE_OBJECT_UNKNOWN,
				  .guest = from->guest};
	size_t n = 0;

	for (size_t i = 0; i < from->profile->row_count; i++) {
		const struct profile_row *r = &from->profile->rows[i];

		if (r->unnamed) {
			unnamed.samples += r->samples;
			unnamed.weight += profile_weight_of(from->profile, r);
		} else if (n < RENDER_TOP_ROWS) {
			to[n++] = (struct top_row){.samples = r->samples,
						   .weight = profile_weight_of(from->profile, r),
						   .type = r->type,
						   .symbol = r->symbol,
						   .object = r->object,
						   .guest = from->guest};
		}
	}
	if (unnamed.samples)
		to[n++] = unnamed;
	return n;
}

static int hotter_first(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;

	if (x->weight != y->weight)
		return x->weight < y->weight ? 1 : -1;
	if (x->guest->pid != y->guest->pid)
		return x->guest->pid < y->guest->pid ? -1 : 1;
	return strcmp(x->symbol, y->symbol);
}

static void share(const char *what, uint64_t part, uint64_t total, struct buf *out)
{
	buf_printf(out, "%s ", what);
	render_percent(out, 0, part, total);
	buf_append_char(out, '%');
}

static void headline(const struct profiler_shares *host, const struct render_when *when,
		     struct buf *out)
{
	if (host->no_perf) {
		buf_append_str(out,
			       "# host kernel -, host user -, guest kernel -, guest user -: not "
			       "measured, perf does not run; status says why; at ");
		render_date(out, when, when->now_ns);
		buf_append_char(out, '\n');
		return;
	}
	buf_append_str(out, "# ");
	share("host kernel", host->host_kernel, host->total, out);
	share(", host user", host->host_user, host->total, out);
	share(", guest kernel", host->guest_kernel, host->total, out);
	share(", guest user", host->guest_user, host->total, out);
	buf_printf(out, " of %" PRIu64 " samples at ", host->total);
	render_date(out, when, when->now_ns);
	buf_append_char(out, '\n');
}

static void row(const struct top_row *r, uint64_t whole, struct buf *out)
{
	render_percent(out, 6, r->weight, whole);
	buf_printf(out, "%% %8" PRIu64 " [%c] ", r->samples, r->type);
	render_word(out, r->symbol);
	buf_append_char(out, ' ');
	render_word(out, r->object);
	buf_printf(out, " %d ", (int)r->guest->pid);
	render_text(out, r->guest->name);
	buf_append_char(out, '\n');
}

/* What the rows are shares of; the weight of a recording is that of all guests already. */
static uint64_t whole_of(const struct render_profile *guests, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		if (guests[i].profile->sampler == SAMPLER_KIND_RECORDING)
			return guests[i].profile->weight;
		sum += profile_weight(guests[i].profile);
	}
	return sum;
}

int render_top(const struct profiler_shares *host, const struct render_profile *guests,
	       size_t count, const struct render_when *when, struct buf *out)
{
	CLEANUP_FREE struct top_row *rows =
		calloc(count + 1, (RENDER_TOP_ROWS + 1) * sizeof(*rows));
	uint64_t whole = whole_of(guests, count);
	size_t n = 0;

	if (!rows)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		n += collect(&guests[i], rows + n);
	qsort(rows, n, sizeof(*rows), hotter_first);
	headline(host, when, out);
	if (!host->no_perf)
		buf_printf(out, "# lost: %" PRIu64 "\n", host->lost);
	for (size_t i = 0; i < count; i++) {
		if (guests[i].profile->paused)
			render_paused(out, guests[i].guest);
	}
	buf_printf(out, "# guests: %zu\n# OVERHEAD SAMPLES TYPE SYMBOL OBJECT PID NAME\n", count);
	for (size_t i = 0; i < n && i < RENDER_TOP_ROWS; i++)
		row(&rows[i], whole, out);
	return out->err;
}
