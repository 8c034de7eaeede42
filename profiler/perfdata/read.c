#include "profiler/perfdata/read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profiler/perfdata/events.h"
#include "profiler/perfdata/format.h"
#include "profiler/perfdata/inflate.h"
#include "profiler/perfdata/order.h"
#include "symsrc/base/cleanup.h"

#define WINDOW_SIZE  (256u << 10) /* what a processor keeps near; a record has 64 KiB at most */
#define HEADER_SIZE  sizeof(struct perf_event_header)
#define FEATURE_MAX  (16u << 20) /* a larger one is left out */
#define ATTR_MAX     4096
#define ATTR_IDS_MAX ((size_t)EVENT_IDS_MAX * 8)

/* The part of the recording that is looked at: buf[from] to buf[to], the latter at `next`. */
struct window {
	uint8_t *buf;
	size_t from, to;
	uint64_t next;
	uint64_t end; /* nothing is read from there on */
	bool ended;
};

struct reader {
	const struct perfdata_bytes *bytes;
	const struct perfdata_handler *handler;
	struct perfdata_facts *facts;
	struct errmsg *why;
	struct window w;
	struct inflate *inflate; /* once it is needed */
	bool features_cut;	 /* what stands behind the records is not all there */
};

/* ---- bytes --------------------------------------------------------------------------------- */

/* What came is all there is, or the reading failed: negative errno. */
static int fill(struct reader *r)
{
	struct window *w = &r->w;
	size_t room = WINDOW_SIZE - w->to;
	ssize_t n;

	if (room > w->end - w->next)
		room = (size_t)(w->end - w->next);
	n = room ? r->bytes->read(r->bytes->ctx, w->next, w->buf + w->to, room) : 0;
	if (n < 0)
		return errmsg_set(r->why, (int)n, "cannot be read: %s", strerrordesc_np((int)-n));
	w->ended = n == 0;
	w->to += (size_t)n;
	w->next += (size_t)n;
	return n && r->handler->progress ? r->handler->progress(r->handler->ctx, w->next) : 0;
}

/* Sees that n bytes (WINDOW_SIZE at most) are in the window, unless there are no more. */
static int want_more(struct reader *r, size_t n)
{
	struct window *w = &r->w;
	int err = 0;

	memmove(w->buf, w->buf + w->from, w->to - w->from);
	w->to -= w->from;
	w->from = 0;
	while (err == 0 && !w->ended && w->to < n)
		err = fill(r);
	return err;
}

static size_t have(const struct reader *r)
{
	return r->w.to - r->w.from;
}

static int want(struct reader *r, size_t n)
{
	return have(r) >= n ? 0 : want_more(r, n);
}

/* False: it ended before that. */
static int skip(struct reader *r, uint64_t n, bool *ret)
{
	int err = 0;

	while (err == 0 && n > 0 && (have(r) || !r->w.ended)) {
		size_t step = n < have(r) ? (size_t)n : have(r);

		r->w.from += step;
		n -= step;
		if (n)
			err = want(r, 1);
	}
	*ret = n == 0;
	return err;
}

/* All of a part of a file, into memory of the caller's. False: it is not there. */
static bool read_part(struct reader *r, uint64_t offset, void *to, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got =
			r->bytes->read(r->bytes->ctx, offset + done, (char *)to + done, n - done);

		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return true;
}

/* ---- records ------------------------------------------------------------------------------- */

/* Where it ends before its end: the reading does, too, but has succeeded. */
#define ENDED 1

static int damaged(struct reader *r, const char *what)
{
	r->facts->end = PERFDATA_DAMAGED;
	snprintf(r->facts->why, sizeof(r->facts->why), "%s", what);
	return ENDED;
}

static int cut(struct reader *r)
{
	r->facts->end = PERFDATA_CUT;
	return ENDED;
}

static struct perfdata_record record_at(const struct reader *r, const uint8_t *at)
{
	bool swapped = r->facts->swapped;

	return (struct perfdata_record){
		.type = order_u32(at, swapped),
		.misc = order_u16(at + 4, swapped),
		.size = order_u16(at + 6, swapped),
		.swapped = swapped,
		.bytes = at,
	};
}

static int hand_attr(struct reader *r, const struct perfdata_record *rec)
{
	const uint8_t *attr = rec->bytes + HEADER_SIZE;
	size_t left = rec->size - HEADER_SIZE, size;

	if (left < PERFDATA_ATTR_SIZE_VER0)
		return damaged(r, "an attribute is too short");
	size = order_u32(attr + 4, rec->swapped);
	if (size == 0)
		size = PERFDATA_ATTR_SIZE_VER0; /* the first version had no such member */
	if (size < PERFDATA_ATTR_SIZE_VER0 || size > left)
		return damaged(r, "an attribute is longer than its record");
	return r->handler->attr(r->handler->ctx, attr, size, attr + size, left - size,
				rec->swapped);
}

static int hand_feature(struct reader *r, const struct perfdata_record *rec)
{
	const size_t before = sizeof(struct perfdata_header_feature);
	uint64_t feature;

	if (rec->size < before)
		return damaged(r, "a feature is too short");
	feature = order_u64(rec->bytes + HEADER_SIZE, rec->swapped);
	if (feature >= PERFDATA_FEATURE_BITS)
		return 0;
	return r->handler->feature(r->handler->ctx, (unsigned)feature, rec->bytes + before,
				   rec->size - before, rec->swapped);
}

static int hand_record(struct reader *r, const struct perfdata_record *rec)
{
	switch (rec->type) {
	case PERFDATA_HEADER_ATTR: return hand_attr(r, rec);
	case PERFDATA_HEADER_FEATURE: return hand_feature(r, rec);
	default: return r->handler->record(r->handler->ctx, rec);
	}
}

/* The whole records of a piece of the decompressed stream. An error that is ENDED has to pass
 * inflate_add(), too, which knows no such thing. */
static ssize_t hand_plain(void *ctx, const uint8_t *plain, size_t n)
{
	struct reader *r = ctx;
	size_t at = 0;

	while (n - at >= HEADER_SIZE) {
		struct perfdata_record rec = record_at(r, plain + at);
		int err;

		if (rec.size < HEADER_SIZE)
			err = damaged(r, "a compressed record is shorter than its header");
		else if (rec.type == PERFDATA_COMPRESSED || rec.type == PERFDATA_COMPRESSED2)
			err = damaged(r, "compressed records lie in compressed ones");
		else if (rec.size > n - at)
			break;
		else
			err = hand_record(r, &rec);
		if (err)
			return err == ENDED ? -ECANCELED : err;
		at += rec.size;
	}
	return (ssize_t)at;
}

static int hand_compressed(struct reader *r, const struct perfdata_record *rec)
{
	size_t before = HEADER_SIZE, n = rec->size - HEADER_SIZE;
	int err;

	if (rec->type == PERFDATA_COMPRESSED2) {
		before = sizeof(struct perfdata_compressed2);
		if (rec->size < before ||
		    order_u64(rec->bytes + HEADER_SIZE, rec->swapped) > rec->size - before)
			return damaged(r, "a compressed record is longer than it is");
		n = order_u64(rec->bytes + HEADER_SIZE, rec->swapped);
	}
	r->facts->compressed = true;
	if (!r->inflate)
		r->inflate = inflate_create();
	if (!r->inflate)
		return errmsg_set(r->why, -ENOMEM, "no memory to decompress it");
	err = inflate_add(r->inflate, rec->bytes + before, n, hand_plain, r);
	if (err == -EBADMSG)
		return damaged(r, "what is compressed cannot be decompressed");
	return err == -ECANCELED && r->facts->end == PERFDATA_DAMAGED ? ENDED : err;
}

/* Bytes that follow a record without being counted in its size. */
static uint64_t bytes_behind(const struct perfdata_record *rec)
{
	const uint8_t *at = rec->bytes + HEADER_SIZE;

	if (rec->type == PERFDATA_AUXTRACE && rec->size >= HEADER_SIZE + 8)
		return order_u64(at, rec->swapped);
	if (rec->type == PERFDATA_HEADER_TRACING_DATA && rec->size >= HEADER_SIZE + 4)
		return ((uint64_t)order_u32(at, rec->swapped) + 7) & ~7ULL;
	return 0;
}

static int next_record(struct reader *r)
{
	struct perfdata_record rec = record_at(r, r->w.buf + r->w.from);
	uint64_t behind;
	bool whole = false;
	int err;

	if (rec.size < HEADER_SIZE)
		return damaged(r, "a record is shorter than its header");
	err = want(r, rec.size);
	if (err < 0)
		return err;
	if (have(r) < rec.size)
		return cut(r);
	rec.bytes = r->w.buf + r->w.from;
	if (rec.type == PERFDATA_COMPRESSED || rec.type == PERFDATA_COMPRESSED2)
		err = hand_compressed(r, &rec);
	else
		err = hand_record(r, &rec);
	if (err)
		return err;
	behind = bytes_behind(&rec);
	r->w.from += rec.size;
	err = skip(r, behind, &whole); /* not both at once: the sum may be 0 */
	if (err == 0 && !whole)
		return cut(r);
	return err;
}

static int read_records(struct reader *r)
{
	int err = 0;

	while (err == 0) {
		err = want(r, HEADER_SIZE);
		if (err < 0)
			break;
		if (have(r) < HEADER_SIZE) {
			if (have(r) || (r->inflate && inflate_rest(r->inflate)))
				err = cut(r);
			break;
		}
		err = next_record(r);
	}
	r->facts->read = r->w.next - have(r);
	return err < 0 ? err : 0;
}

/* ---- a file -------------------------------------------------------------------------------- */

static struct perfdata_section section_at(const struct reader *r, const void *at)
{
	bool swapped = r->facts->swapped;

	return (struct perfdata_section){order_u64(at, swapped),
					 order_u64((const char *)at + 8, swapped)};
}

/* The event whose element begins there. */
static int read_attr(struct reader *r, uint64_t offset, size_t size)
{
	CLEANUP_FREE uint8_t *ids = NULL;
	struct perfdata_section where;
	uint8_t element[ATTR_MAX];

	if (!read_part(r, offset, element, size))
		return errmsg_set(r->why, -EBADMSG, "is cut off before its first record");
	where = section_at(r, element + size - sizeof(where));
	if (where.size > ATTR_IDS_MAX)
		return errmsg_set(r->why, -EBADMSG, "is damaged: an event has too many ids");
	ids = malloc(where.size + 1);
	if (!ids)
		return errmsg_set(r->why, -ENOMEM, "no memory for its events");
	if (!read_part(r, where.offset, ids, where.size))
		return errmsg_set(r->why, -EBADMSG, "is cut off before its first record");
	return r->handler->attr(r->handler->ctx, element, size - sizeof(where), ids, where.size,
				r->facts->swapped);
}

static int read_attrs(struct reader *r, const struct perfdata_file_header *h)
{
	uint64_t size = order_u64(&h->attr_size, r->facts->swapped);
	struct perfdata_section attrs = section_at(r, &h->attrs);
	int err = 0;

	if (size < PERFDATA_ATTR_SIZE_VER0 + sizeof(attrs) || size > ATTR_MAX ||
	    attrs.size / size > EVENTS_MAX)
		return errmsg_set(r->why, -EBADMSG,
				  "is damaged, or from a perf that is not known: its events "
				  "cannot be read");
	for (uint64_t i = 0; err == 0 && i < attrs.size / size; i++)
		err = read_attr(r, attrs.offset + i * size, (size_t)size);
	return err;
}

/* Each is a record, but for its type. */
static int hand_build_ids(struct reader *r, const uint8_t *bytes, size_t n)
{
	size_t at = 0;
	int err = 0;

	while (err == 0 && n - at >= HEADER_SIZE) {
		struct perfdata_record rec = record_at(r, bytes + at);

		if (rec.size < HEADER_SIZE || rec.size > n - at)
			return 0;
		rec.type = PERFDATA_HEADER_BUILD_ID;
		err = r->handler->record(r->handler->ctx, &rec);
		at += rec.size;
	}
	return err;
}

/* What cannot be read is left out: the samples are there all the same. */
static int read_feature(struct reader *r, unsigned feature, const struct perfdata_section *where)
{
	CLEANUP_FREE uint8_t *bytes = NULL;

	if (where->size > FEATURE_MAX)
		return 0;
	bytes = malloc(where->size + 1);
	if (!bytes)
		return 0;
	if (!read_part(r, where->offset, bytes, where->size)) {
		r->features_cut = true;
		return 0;
	}
	if (feature == PERFDATA_FEATURE_BUILD_ID)
		return hand_build_ids(r, bytes, where->size);
	return r->handler->feature(r->handler->ctx, feature, bytes, where->size, r->facts->swapped);
}

static bool has_feature(const struct reader *r, const struct perfdata_file_header *h, unsigned bit)
{
	return order_u64(&h->features[bit / 64], r->facts->swapped) >> bit % 64 & 1;
}

/* A section for each stands behind the data. */
static int read_features(struct reader *r, const struct perfdata_file_header *h,
			 const struct perfdata_section *data)
{
	uint64_t at = data->offset + data->size;
	struct perfdata_section raw;
	int err = 0;

	for (unsigned bit = 0; err == 0 && bit < PERFDATA_FEATURE_BITS; bit++) {
		struct perfdata_section where;

		if (!has_feature(r, h, bit))
			continue;
		if (!read_part(r, at, &raw, sizeof(raw))) {
			r->features_cut = true;
			return 0;
		}
		where = section_at(r, &raw);
		err = read_feature(r, bit, &where);
		at += sizeof(raw);
	}
	return err;
}

static int read_file(struct reader *r)
{
	struct perfdata_file_header h;
	struct perfdata_section data;
	int err;

	if (!r->bytes->seekable)
		return errmsg_set(r->why, -ESPIPE,
				  "is in perf's file format, which cannot be read from a pipe: "
				  "give the file itself, or record with `-o -`");
	if (!read_part(r, 0, &h, sizeof(h)))
		return errmsg_set(r->why, -EBADMSG, "is cut off in its header");
	data = section_at(r, &h.data);
	if (data.offset < sizeof(h) || data.offset + data.size < data.offset)
		return errmsg_set(r->why, -EBADMSG, "is damaged: its header is none");
	err = read_attrs(r, &h);
	if (err == 0 && data.size)
		err = read_features(r, &h, &data);
	if (err < 0)
		return err;
	r->w = (struct window){.buf = r->w.buf,
			       .next = data.offset,
			       .end = data.size ? data.offset + data.size : UINT64_MAX};
	err = read_records(r);
	/* perf writes the size when it ends. */
	if (err == 0 && r->facts->end == PERFDATA_WHOLE && data.size == 0)
		r->facts->end = PERFDATA_UNFINISHED;
	if (err == 0 && r->facts->end == PERFDATA_WHOLE && r->w.next < r->w.end)
		r->facts->end = PERFDATA_CUT;
	if (err == 0 && r->facts->end == PERFDATA_WHOLE && r->features_cut)
		r->facts->end = PERFDATA_CUT_BEHIND;
	return err;
}

/* ---- both ---------------------------------------------------------------------------------- */

/* What somebody has packed begins with (RFC 1952, 2.3.1; RFC 8878, 3.1.1; the formats of
 * .xz, 2.1.1, .bz2 and .lz4), and what unpacks it. */
static const char *unpacker_of(const uint8_t *bytes, size_t n)
{
	static const struct {
		const char *magic, *unpacker;
	} known[] = {
		{"\x1f\x8b", "zcat"},
		{"\x28\xb5\x2f\xfd", "zstdcat"},
		{"\xfd"
		 "7zXZ",
		 "xzcat"},
		{"BZh", "bzcat"},
		{"\x04\x22\x4d\x18", "lz4cat"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t length = strlen(known[i].magic);

		if (n >= length && memcmp(bytes, known[i].magic, length) == 0)
			return known[i].unpacker;
	}
	return NULL;
}

static int refuse(const struct reader *r)
{
	const char *unpacker = unpacker_of(r->w.buf, have(r));

	if (!unpacker)
		return errmsg_set(r->why, -EBADMSG, "is no perf.data (of perf 3.7 or later)");
	return errmsg_set(
		r->why, -EBADMSG,
		"is packed: unpack it first, `%s FILE >perf.data`; perf's pipe format may "
		"also come as `%s FILE | kvmprofs --input -`",
		unpacker, unpacker);
}

static int read_any(struct reader *r)
{
	uint64_t magic, size;
	int err = want(r, sizeof(struct perfdata_pipe_header));

	if (err < 0)
		return err;
	if (have(r) == 0)
		return errmsg_set(r->why, -ENODATA, "is empty: nothing was recorded");
	magic = have(r) >= 8 ? order_u64(r->w.buf, false) : 0;
	if (magic != PERFDATA_MAGIC && magic != PERFDATA_MAGIC_SWAPPED)
		return refuse(r);
	if (have(r) < sizeof(struct perfdata_pipe_header))
		return errmsg_set(r->why, -EBADMSG, "is cut off in its header");
	r->facts->swapped = magic == PERFDATA_MAGIC_SWAPPED;
	size = order_u64(r->w.buf + 8, r->facts->swapped);
	r->facts->pipe = size == sizeof(struct perfdata_pipe_header);
	if (!r->facts->pipe)
		return read_file(r);
	r->w.from = sizeof(struct perfdata_pipe_header);
	return read_records(r);
}

int perfdata_read(const struct perfdata_bytes *bytes, const struct perfdata_handler *handler,
		  struct perfdata_facts *ret, struct errmsg *why)
{
	struct reader r = {
		.bytes = bytes, .handler = handler, .facts = ret, .why = why, .w.end = UINT64_MAX};
	int err;

	*ret = (struct perfdata_facts){0};
	r.w.buf = malloc(WINDOW_SIZE);
	if (!r.w.buf)
		return errmsg_set(why, -ENOMEM, "no memory to read it");
	err = read_any(&r);
	inflate_destroy(r.inflate);
	free(r.w.buf);
	return err;
}
