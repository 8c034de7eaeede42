#include "profiler/perfdata/inflate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define REST_MAX  (64u << 10)
#define PLAIN_MAX (REST_MAX + (256u << 10))
/* Samples differ at least in their times: perf's become ten times as much, not a thousand times,
 * and what does could be read for hours. */
#define RATIO_MAX 1000
#define FREE_MAX  (64u << 20) /* of plain bytes that may be of any ratio */

struct inflate {
	ZSTD_DStream *stream;
	uint64_t packed, unpacked; /* bytes so far */
	size_t len;		   /* of plain */
	uint8_t plain[PLAIN_MAX];
};

struct inflate *inflate_create(void)
{
	struct inflate *i = malloc(sizeof(*i));

	if (!i)
		return NULL;
	i->packed = i->unpacked = 0;
	i->len = 0;
	i->stream = ZSTD_createDStream();
	if (i->stream)
		return i;
	free(i);
	return NULL;
}

void inflate_destroy(struct inflate *i)
{
	if (!i)
		return;
	ZSTD_freeDStream(i->stream);
	free(i);
}

size_t inflate_rest(const struct inflate *i)
{
	return i->len;
}

int inflate_add(struct inflate *i, const void *bytes, size_t n,
		ssize_t (*take)(void *ctx, const uint8_t *plain, size_t n), void *ctx)
{
	ZSTD_inBuffer in = {bytes, n, 0};
	bool more = true;

	i->packed += n;
	while (more) {
		ZSTD_outBuffer out = {i->plain + i->len, PLAIN_MAX - i->len, 0};
		ssize_t used;

		if (ZSTD_isError(ZSTD_decompressStream(i->stream, &out, &in)))
			return -EBADMSG;
		/* A full buffer: there may be more of what has been put in. */
		more = out.pos == out.size || in.pos < in.size;
		i->len += out.pos;
		i->unpacked += out.pos;
		if (i->unpacked > FREE_MAX && i->unpacked / RATIO_MAX > i->packed)
			return -EBADMSG;
		used = take(ctx, i->plain, i->len);
		if (used < 0)
			return (int)used;
		i->len -= (size_t)used;
		memmove(i->plain, i->plain + used, i->len);
		if (i->len > REST_MAX)
			return -EBADMSG;
	}
	return 0;
}
