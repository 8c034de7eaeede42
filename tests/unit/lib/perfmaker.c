#include "tests/unit/lib/perfmaker.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define MOST (128u << 20)

void perfmaker_init(struct perfmaker *m, bool pipe, bool swapped)
{
	*m = (struct perfmaker){.pipe = pipe, .swapped = swapped};
	buf_init(&m->attrs, MOST);
	buf_init(&m->ids, MOST);
	buf_init(&m->records, MOST);
	buf_init(&m->build_ids, MOST);
	buf_init(&m->out, MOST);
}

void perfmaker_deinit(struct perfmaker *m)
{
	buf_deinit(&m->attrs);
	buf_deinit(&m->ids);
	buf_deinit(&m->records);
	buf_deinit(&m->build_ids);
	buf_deinit(&m->out);
}

/* ---- numbers ------------------------------------------------------------------------------- */

static void put16(const struct perfmaker *m, struct buf *b, uint16_t n)
{
	n = m->swapped ? __builtin_bswap16(n) : n;
	if (buf_append(b, &n, sizeof(n)) < 0)
		abort();
}

static void put32(const struct perfmaker *m, struct buf *b, uint32_t n)
{
	n = m->swapped ? __builtin_bswap32(n) : n;
	if (buf_append(b, &n, sizeof(n)) < 0)
		abort();
}

static void put64(const struct perfmaker *m, struct buf *b, uint64_t n)
{
	n = m->swapped ? __builtin_bswap64(n) : n;
	if (buf_append(b, &n, sizeof(n)) < 0)
		abort();
}

static void put(struct buf *b, const void *bytes, size_t n)
{
	if (buf_append(b, bytes, n) < 0)
		abort();
}

static void put_header(const struct perfmaker *m, struct buf *b, uint32_t type, uint16_t misc,
		       size_t size)
{
	put32(m, b, type);
	put16(m, b, misc);
	put16(m, b, (uint16_t)size);
}

/* With its NUL, up to the next multiple of 8. */
static void put_name(struct buf *b, const char *name)
{
	static const char zeros[8];

	put(b, name, strlen(name) + 1);
	put(b, zeros, (8 - (strlen(name) + 1) % 8) % 8);
}

static size_t name_size(const char *name)
{
	return (strlen(name) + 1 + 7) / 8 * 8;
}

/* ---- events -------------------------------------------------------------------------------- */

/* The bit "freq" is the eleventh of a bit field, whose bits begin at the other end of each byte
 * where the byte order is the other one. */
static void put_flags(const struct perfmaker *m, struct buf *b, bool freq)
{
	uint8_t flags[8] = {0};

	if (freq)
		flags[1] = m->swapped ? 1u << 5 : 1u << 2;
	put(b, flags, sizeof(flags));
}

static void put_attr(const struct perfmaker *m, struct buf *b, uint32_t type, uint64_t config,
		     uint64_t rate, bool freq)
{
	static const char rest[128 - 48];

	put32(m, b, type);
	put32(m, b, 128);
	put64(m, b, config);
	put64(m, b, rate);
	put64(m, b, m->sample_type);
	put64(m, b, 0);
	put_flags(m, b, freq);
	put(b, rest, sizeof(rest));
}

void perfmaker_event(struct perfmaker *m, uint32_t type, uint64_t config, uint64_t sample_type,
		     uint64_t rate, bool freq, const uint64_t *ids, size_t id_count)
{
	struct buf *b = m->pipe ? &m->records : &m->attrs;

	m->sample_type = sample_type;
	if (m->pipe)
		put_header(m, b, PERFDATA_HEADER_ATTR, 0, 8 + 128 + 8 * id_count);
	put_attr(m, b, type, config, rate, freq);
	for (size_t i = 0; i < id_count; i++)
		put64(m, m->pipe ? b : &m->ids, ids[i]);
	m->id_counts[m->events++] = id_count;
}

/* ---- records ------------------------------------------------------------------------------- */

void perfmaker_record(struct perfmaker *m, uint32_t type, uint16_t misc, const void *body, size_t n)
{
	put_header(m, &m->records, type, misc, 8 + n);
	put(&m->records, body, n);
}

static void put_field(struct perfmaker *m, uint64_t bit, const struct perfmaker_sample *s)
{
	struct buf *b = &m->records;

	switch (bit) {
	case PERF_SAMPLE_ID: put64(m, b, s->id); break;
	case PERF_SAMPLE_IP: put64(m, b, s->ip); break;
	case PERF_SAMPLE_TIME: put64(m, b, s->time); break;
	case PERF_SAMPLE_PERIOD: put64(m, b, s->period); break;
	case PERF_SAMPLE_TID:
		put32(m, b, s->pid);
		put32(m, b, s->tid);
		break;
	default: put64(m, b, 0x7777777777777777); break; /* of no interest */
	}
}

void perfmaker_sample(struct perfmaker *m, const struct perfmaker_sample *s)
{
	struct buf *b = &m->records;

	put_header(m, b, PERF_RECORD_SAMPLE, s->misc,
		   8 + 8 * (size_t)__builtin_popcountll(m->sample_type));
	if (m->sample_type & PERF_SAMPLE_IDENTIFIER)
		put64(m, b, s->id);
	for (uint64_t bit = 1; bit <= PERF_SAMPLE_PERIOD; bit <<= 1) {
		if (m->sample_type & bit)
			put_field(m, bit, s);
	}
}

void perfmaker_comm(struct perfmaker *m, uint32_t pid, uint32_t tid, const char *name)
{
	put_header(m, &m->records, PERF_RECORD_COMM, 0, 16 + name_size(name));
	put32(m, &m->records, pid);
	put32(m, &m->records, tid);
	put_name(&m->records, name);
}

void perfmaker_mmap(struct perfmaker *m, uint16_t misc, int32_t pid, uint64_t start, uint64_t len,
		    uint64_t pgoff, const char *name)
{
	put_header(m, &m->records, PERF_RECORD_MMAP, misc, 40 + name_size(name));
	put32(m, &m->records, (uint32_t)pid);
	put32(m, &m->records, 0);
	put64(m, &m->records, start);
	put64(m, &m->records, len);
	put64(m, &m->records, pgoff);
	put_name(&m->records, name);
}

void perfmaker_build_id(struct perfmaker *m, int32_t pid, const uint8_t id[20], const char *name)
{
	static const uint8_t size[4] = {20};
	struct buf *b = m->pipe ? &m->records : &m->build_ids;

	put_header(m, b, m->pipe ? PERFDATA_HEADER_BUILD_ID : 0,
		   PERF_RECORD_MISC_GUEST_KERNEL | PERFDATA_MISC_BUILD_ID_SIZE,
		   36 + name_size(name));
	put32(m, b, (uint32_t)pid);
	put(b, id, 20);
	put(b, size, sizeof(size));
	put_name(b, name);
}

static void put_compressed(struct perfmaker *m, bool version2, const char *bytes, size_t n)
{
	static const char zeros[8];
	size_t pad = version2 ? (8 - n % 8) % 8 : 0;

	put_header(m, &m->records, version2 ? PERFDATA_COMPRESSED2 : PERFDATA_COMPRESSED, 0,
		   8 + (version2 ? 8 : 0) + n + pad);
	if (version2)
		put64(m, &m->records, n);
	put(&m->records, bytes, n);
	put(&m->records, zeros, pad);
}

void perfmaker_compress(struct perfmaker *m, bool version2, size_t chunk)
{
	size_t len, packed, room;
	char *plain = buf_steal(&m->records, &len);
	char *to = malloc(room = ZSTD_compressBound(len));

	packed = to ? ZSTD_compress(to, room, plain, len, 1) : 0;
	if (!packed || ZSTD_isError(packed))
		abort();
	for (size_t at = 0; at < packed; at += chunk)
		put_compressed(m, version2, to + at, packed - at < chunk ? packed - at : chunk);
	free(to);
	free(plain);
}

/* ---- all of it ----------------------------------------------------------------------------- */

#define HEADER_SIZE sizeof(struct perfdata_file_header)

static void end_file(struct perfmaker *m, bool finished)
{
	size_t attrs_at = HEADER_SIZE + m->ids.len, ids_at = HEADER_SIZE;
	size_t attrs_len = m->events * (128 + 16), data_at = attrs_at + attrs_len;
	bool features = finished && m->build_ids.len;
	struct buf *b = &m->out;

	put64(m, b, PERFDATA_MAGIC);
	put64(m, b, HEADER_SIZE);
	put64(m, b, 128 + 16);
	put64(m, b, attrs_at);
	put64(m, b, attrs_len);
	put64(m, b, data_at);
	put64(m, b, finished ? m->records.len : 0);
	put64(m, b, 0);
	put64(m, b, 0);
	put64(m, b, features ? 1u << PERFDATA_FEATURE_BUILD_ID : 0);
	for (int i = 1; i < PERFDATA_FEATURE_BITS / 64; i++)
		put64(m, b, 0);
	put(b, m->ids.data, m->ids.len);
	for (size_t i = 0; i < m->events; i++) {
		put(b, m->attrs.data + i * 128, 128);
		put64(m, b, ids_at);
		put64(m, b, 8 * m->id_counts[i]);
		ids_at += 8 * m->id_counts[i];
	}
	put(b, m->records.data, m->records.len);
	if (!features)
		return;
	put64(m, b, b->len + 16);
	put64(m, b, m->build_ids.len);
	put(b, m->build_ids.data, m->build_ids.len);
}

void perfmaker_end(struct perfmaker *m, bool finished)
{
	if (!m->pipe) {
		end_file(m, finished);
		return;
	}
	put64(m, &m->out, PERFDATA_MAGIC);
	put64(m, &m->out, sizeof(struct perfdata_pipe_header));
	put(&m->out, m->records.data, m->records.len);
}

static ssize_t read_bytes(void *ctx, uint64_t offset, void *to, size_t n)
{
	struct perfmaker_reading *r = ctx;
	size_t at = (size_t)offset;

	if (offset >= r->size)
		return 0;
	if (n > r->size - at)
		n = r->size - at;
	if (r->step && n > r->step)
		n = r->step;
	memcpy(to, r->data + at, n);
	return (ssize_t)n;
}

static ssize_t read_pipe(void *ctx, uint64_t offset, void *to, size_t n)
{
	struct perfmaker_reading *r = ctx;
	ssize_t got;

	if (offset != r->at)
		abort(); /* a pipe cannot be read elsewhere */
	got = read_bytes(ctx, offset, to, n);
	r->at += (size_t)got;
	return got;
}

struct perfdata_bytes perfmaker_bytes(struct perfmaker_reading *reading, bool seekable)
{
	return (struct perfdata_bytes){
		.read = seekable ? read_bytes : read_pipe, .ctx = reading, .seekable = seekable};
}
